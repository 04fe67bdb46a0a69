"""Weights that other programs trained, taken over into networks of the zoo. Reading them runs no code of theirs."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.errors import ZooError, did_you_mean
from zoo.facts import Value
from zoo.layers.frontends import LogMel
from zoo.registry import entry
from zoo.trained.card import Card
from zoo.trained.foreign_layers import (
    LAYOUTS,
    Layer,
    guess_layout,
    keras_layers,
    laid_onto,
    naturally,
    torch_layers,
)

__all__ = ["Adopted", "adopt", "read_tags"]

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
)  # where training states keep the weights
PREFIXES = ("module.", "model.", "net.")  # of weights that were saved inside another module
SPECTROGRAMS = ("spectrogram.window", "mel_scale.fb")  # torchaudio's constants; our options say the same
SCALES = ("mean", "std")  # of a LogMel
# Where the odd zero of even filters is taken to be, by layout; that Theano's is left needs no check.
SIDES = {
    "torch": "even filters: the odd zero is taken left, as in Theano; if theirs was right, padding=torch",
    "keras": "even filters: the odd zero is taken right, as in TensorFlow; if theirs was left, padding=theano",
}
MOST_TAG_BYTES = 1 << 20
# A file in double precision, with two moments of an optimizer for each weight, is six times as long as our weights.
ROOM, SPARE_BYTES = 8, 64 << 20


@dataclass(frozen=True)
class Adopted:
    """A network with foreign weights, not saved yet: `zoo.save(adopted.network, folder, adopted.card)`.

    network: in evaluation mode, on the CPU.
    card:    without scores; its lineage says which file, its SHA-256 and how it was read.
    pairs:   our layers and theirs, in our order.
    notes:   what is left to do or to check, a line each.
    """

    network: nn.Module
    card: Card
    pairs: tuple[tuple[Layer, Layer], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Which layer came from which, and what to check."""
        width = max(len(ours.name) for ours, _ in self.pairs)
        rows = [f"{ours.name:<{width}}  from  {theirs.name[:80]}" for ours, theirs in self.pairs]
        return "\n".join([f"{self.card.network} with {self.card.n_tags} tags", *rows, *self.notes])


def adopt(
    name: str,
    path: str | Path,
    tags: Sequence[str],
    *,
    layout: str = "auto",
    epsilon: float | None = None,
    **options: Value,
) -> Adopted:
    """Build a network of the zoo with the weights of a foreign file.

    Layers correspond in their order, so check a clip: two layers of one shape are told apart by nothing else.
    name:    as in `zoo.entry`, and options as in `zoo.create`. Where even filters have an odd zero, and `padding` does
             not say on which side, it is right for Keras on TensorFlow, else left; notes tell which.
    path:    .safetensors; .pt, .pth, .bin or .ckpt with a state dict, bare or wrapped in a training state; or .npz
             as `numpy.savez(file, *model.get_weights())` writes it in Keras.
    tags:    in the order of the file's last layer.
    layout:  "torch", "keras", or "theano" (Keras on Theano, whose kernels run backwards); "auto" takes Keras for
             .npz files of nameless arrays and torch for all else.
    epsilon: of the file's batch norms, where it is not the network's: Keras 2 has 0.001. The running variances then
             make up for the difference, exactly in evaluation.
    raises:  ZooError for a file that is damaged or not of tensors alone, and at the first tensor that does not fit.
    """
    if layout not in ("auto", *LAYOUTS):
        raise ZooError(
            f"layout={layout} is not one of auto, {', '.join(LAYOUTS)}{did_you_mean(layout, LAYOUTS)}"
        )
    if epsilon is not None and not 0 < epsilon < 1:
        raise ZooError(f"epsilon={epsilon} is not between 0 and 1")
    if not tags:
        raise ZooError("a network needs one tag or more, in the order of the file's last layer")
    wanted, file = entry(name).with_options(**options), Path(path)
    network = _built(wanted, tags)
    tensors, notes = _read(file, network)
    layout = guess_layout(tensors) if layout == "auto" else layout
    # The weights fit on either side of the odd zero, so nothing else would tell.
    side_open = "padding" not in options and _has_odd_zero(wanted)
    if side_open and layout == "keras":
        wanted = wanted.with_options(padding="torch")
        network = _built(wanted, tags)
    try:
        pairs, more = _fill(network, tensors, layout)
    except ZooError as error:
        raise ZooError(f"{file} does not fit {_words(wanted, tags)}: {error}") from error
    if epsilon is not None:
        _change_epsilon(network, epsilon)
    lineage = {"imported_from": file.name, "sha256": _sha256(file), "layout": layout, "epsilon": epsilon}
    card = Card.of(network, tags, lineage={key: value for key, value in lineage.items() if value is not None})
    notes += more + _keras_notes(layout, epsilon)
    if side_open and layout in SIDES:
        notes.append(SIDES[layout])
    return Adopted(network.eval(), card, tuple(pairs), tuple(notes))


def read_tags(path: str | Path) -> list[str]:
    """The tags of a text file, one a line, or of a JSON list. Raises ZooError if the file holds neither."""
    file = Path(path)
    try:
        if file.stat().st_size > MOST_TAG_BYTES:
            raise ZooError(
                f"{file} has {file.stat().st_size} bytes; a list of tags has at most {MOST_TAG_BYTES}"
            )
        text = file.read_text("utf-8-sig").strip()  # some editors put a mark in front
        tags = json.loads(text) if text.startswith("[") else text.splitlines()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ZooError(f"{file} is no list of tags: {why}") from error
    if not all(isinstance(tag, str) for tag in tags):
        raise ZooError(f"{file} is no list of tags: JSON must be a list of words")
    found = [tag.strip() for tag in tags if tag.strip()]
    if not found:
        raise ZooError(f"{file} is no list of tags: it is empty")
    return found


def _built(wanted: Entry, tags: Sequence[str]) -> nn.Module:
    """The network with weights of its own; the random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        return wanted.build(len(tags))


def _has_odd_zero(wanted: Entry) -> bool:
    """Whether its `padding` makes a difference: on filters of even length."""
    return "padding" in wanted.options and int(wanted.options["m"]) % 2 == 0


def _words(wanted: Entry, tags: Sequence[str]) -> str:
    changed = "".join(f" {key}={value}" for key, value in wanted.overrides.items())
    return f"{wanted.name}{changed} with {len(tags)} tags"


def _read(file: Path, network: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file by name, without what every name starts with; and notes on what was left out."""
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        keras = "; in Keras, numpy.savez('weights.npz', *model.get_weights()) writes one of them"
        raise ZooError(f"{file} is none of {', '.join(READERS)}{keras}")
    if not file.is_file():
        raise ZooError(f"there is no file {file}")
    _check_size(file, network)
    tensors = reader(file)
    constants = [name for name in tensors if name.endswith(SPECTROGRAMS)]
    notes = [f"left out: {name[:80]!r}, a constant of torchaudio's spectrogram" for name in constants]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in constants}
    while tensors and (common := [p for p in PREFIXES if all(name.startswith(p) for name in tensors)]):
        tensors = {name.removeprefix(common[0]): tensor for name, tensor in tensors.items()}
    return tensors, notes


def _check_size(file: Path, network: nn.Module) -> None:
    """Raise ZooError for a file, packed or unpacked, that is much larger than the weights that are looked for."""
    own = sum(tensor.nbytes for tensor in network.state_dict().values())
    most, size = ROOM * own + SPARE_BYTES, file.stat().st_size
    if zipfile.is_zipfile(file):
        try:
            with zipfile.ZipFile(file) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ZooError(f"{file} is damaged: {error}") from error
    if size > most:
        raise ZooError(
            f"{file} has {size} bytes; one with the {own} bytes that are wanted has at most {most}"
        )


def _read_torch(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that it refuses in the next line
            record = torch.load(file, weights_only=True, map_location="cpu")
    # A damaged or hostile file can make the reader fail in any way; nothing of it is run.
    except Exception as error:
        raise ZooError(
            f"{file} is damaged, or holds more than tensors, which is not run; its owner can write a file of tensors "
            f"alone with torch.save(model.state_dict(), file)"
        ) from error
    for _ in WRAPPERS:
        inner = [record[key] for key in WRAPPERS if key in record] if isinstance(record, Mapping) else []
        record = inner[0] if inner and isinstance(inner[0], Mapping) else record
    return _tensors_alone(file, record)


def _tensors_alone(file: Path, record: Any) -> dict[str, Tensor]:
    if not isinstance(record, Mapping) or not record:
        raise ZooError(f"{file} holds no state dict, but a {type(record).__name__}")
    for name, value in record.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ZooError(
                f"{file}: {str(name)[:80]!r} is {type(value).__name__}, not a dense tensor with a name"
            )
        if value.is_meta:
            raise ZooError(
                f"{file}: {name[:80]!r} is on torch's meta device, a shape without numbers; save the weights themselves"
            )
    return dict(record)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(file)
    except Exception as error:  # its own class, but also KeyError for a type that torch has not
        raise ZooError(f"{file} is damaged: {str(error)[:200]}") from error
    # Such files forget the order of their tensors; numbered names still tell it.
    return {name: tensors[name] for name in sorted(tensors, key=naturally)}


def _read_numpy(file: Path) -> dict[str, Tensor]:
    try:
        with file.open("rb") as content:  # numpy leaves a file that it opens itself open, if it is damaged
            loaded = np.load(content, allow_pickle=False)
            arrays = {"arr_0": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        in_order = sorted(arrays, key=naturally) if guess_layout(arrays) == "keras" else arrays
        return {name: torch.from_numpy(arrays[name]) for name in in_order}
    # As above; and an array of objects is a pickle, which numpy refuses with ValueError.
    except Exception as error:
        raise ZooError(
            f"{file} is damaged, or holds more than arrays of numbers, which is not run; "
            f"numpy.savez('weights.npz', *model.get_weights()) writes one of numbers alone"
        ) from error


READERS: Mapping[str, Callable[[Path], dict[str, Tensor]]] = {
    ".safetensors": _read_safetensors,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), _read_torch),
    **dict.fromkeys((".npz", ".npy"), _read_numpy),
}


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], layout: str
) -> tuple[list[tuple[Layer, Layer]], list[str]]:
    """Put the tensors into the network. Returns which layer came from which, and notes."""
    ours = network.state_dict()
    layers = torch_layers(tensors) if layout == "torch" else keras_layers(tensors)
    measured = any(layer.parts.keys() == set(SCALES) for layer in layers)
    missing = [] if measured else _scales(network)
    wanted = {name: tensor for name, tensor in ours.items() if name not in missing}
    filled, pairs = laid_onto(wanted, layers, tensors, layout)
    network.load_state_dict(ours | {name: _like(ours[name], new, name) for name, new in filled.items()})
    notes = [
        f"{name} is not in the file: measure it with zoo.calibrate, on training waves" for name in missing
    ]
    return pairs, notes


def _scales(network: nn.Module) -> list[str]:
    """The tensors that `zoo.calibrate` measures; programs that train on ready-made spectrograms have none."""
    fronts = [name for name, layer in network.named_modules() if isinstance(layer, LogMel)]
    own = network.state_dict()
    return [f"{front}.{scale}" for front in fronts for scale in SCALES if f"{front}.{scale}" in own]


def _like(own: Tensor, tensor: Tensor, name: str) -> Tensor:
    """The tensor in our type. Raises ZooError for one that is not made of finite numbers."""
    if own.is_floating_point() != tensor.is_floating_point():
        raise ZooError(f"what is there for {name} is {tensor.dtype}, ours is {own.dtype}")
    converted = tensor.to(own.dtype)
    if not torch.isfinite(converted).all():
        raise ZooError(f"what is there for {name} holds values that are not numbers")
    if name.endswith("running_var") and (converted < 0).any():
        raise ZooError(f"what is there for {name} holds variances below 0")
    return converted


def _change_epsilon(network: nn.Module, epsilon: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_var is not None:
            layer.running_var += epsilon - layer.eps


def _keras_notes(layout: str, epsilon: float | None) -> list[str]:
    notes = []
    if layout == "keras":
        notes.append("read as Keras on TensorFlow; if it ran on Theano, layout=theano")
    if layout != "torch" and epsilon is None:
        notes.append("batch norm's epsilon taken as ours; if it was made by Keras 2 or 3, epsilon=0.001")
    return notes


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
