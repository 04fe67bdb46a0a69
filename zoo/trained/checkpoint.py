"""Checkpoints: a folder with weights.safetensors and card.json. Reading one runs no code from it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from zoo.errors import CheckpointError
from zoo.layers.bases import check_loaded
from zoo.trained.card import Card

__all__ = ["Card", "read", "read_card", "save"]

WEIGHTS, CARD = "weights.safetensors", "card.json"
MOST_CARD_BYTES = 1 << 20
MOST_PARAMETERS = 10**9  # forty times the largest network of the field
NAMES = {torch.float32: "F32", torch.int64: "I64"}


def save(network: nn.Module, folder: str | Path, card: Card) -> None:
    """Write a checkpoint, replacing one that is there. A reader sees the old one or the new one, never half.

    network: of `zoo.create`, on any device.
    folder:  to write; made with its parents.
    card:    `Card.of(network, tags, ...)`.
    raises:  CheckpointError if card and network do not belong together, or `folder` holds something else; ZooError for
             a network whose bases were never loaded.
    """
    card.check_network(network)
    check_loaded(network)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    _compare("the network to save", _layout(weights), _expected(card))
    folder = Path(folder).absolute()
    if folder.exists() and not {file.name for file in folder.iterdir()} <= {WEIGHTS, CARD}:
        raise CheckpointError(
            f"{folder} holds more than a checkpoint, so it is not replaced; choose another folder"
        )
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    beside.mkdir(parents=True)
    try:
        _write(beside / WEIGHTS, to_bytes(weights))
        _write(beside / CARD, card.to_json().encode())
        _swap(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read(folder: str | Path) -> tuple[nn.Module, Card]:
    """Read a checkpoint.

    returns: the network on the CPU, in evaluation mode, and its card. torch's random state is left as it was.
    raises:  CheckpointError, in one line, if a file is missing, damaged, too large or outside the folder, or
             if the weights are not those of the network on the card (naming the first tensor that differs).
    """
    folder = Path(folder)
    card = read_card(folder)
    entry = card.entry()
    if entry.cost(card.n_tags).parameters > MOST_PARAMETERS:
        raise CheckpointError(
            f"{folder}: {card.network} with these options has over {MOST_PARAMETERS} parameters"
        )
    path = _inside(folder, WEIGHTS)
    try:
        _compare(path, _layout_of_file(path), _expected(card))
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not numbers")
    with torch.random.fork_rng(devices=[]):
        network = entry.build(card.n_tags)
    network.load_state_dict(weights)
    return network.eval(), card


def read_card(folder: str | Path) -> Card:
    """Read the card of a checkpoint alone. Raises CheckpointError as `read` does."""
    path = _inside(Path(folder), CARD)
    if path.stat().st_size > MOST_CARD_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes; a card has at most {MOST_CARD_BYTES}")
    try:
        return Card.from_json(path.read_text("utf-8"))
    except (CheckpointError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {name}")
    if path.resolve().parent != folder.resolve():
        raise CheckpointError(f"{path} leads out of its folder, to {path.resolve()}")
    return path


Layout = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape and type, as in the file's header


def _layout(state: Mapping[str, Tensor]) -> Layout:
    return {name: (tuple(t.shape), NAMES.get(t.dtype, str(t.dtype))) for name, t in state.items()}


def _layout_of_file(path: Path) -> Layout:
    with safe_open(path, framework="pt") as file:
        headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        return {name: (tuple(h.get_shape()), h.get_dtype()) for name, h in headers.items()}


def _compare(where: object, found: Layout, expected: Layout) -> None:
    """Raise CheckpointError at the first tensor, that is missing, different or foreign."""
    for name, (shape, kind) in expected.items():
        if name not in found:
            raise CheckpointError(f"{where} has no {name}")
        shape_here, kind_here = found[name]
        if shape_here != shape:
            raise CheckpointError(f"{where}: {name} has shape {shape_here}, the card's network has {shape}")
        if kind_here != kind:
            raise CheckpointError(f"{where}: {name} is {kind_here}, the card's network has {kind}")
    if foreign := sorted(set(found) - set(expected)):
        raise CheckpointError(f"{where} has {foreign[0][:80]!r}, which the card's network has not")


def _expected(card: Card) -> Layout:
    with torch.device("meta"):  # shapes only: nothing is allocated before a file has proved to hold as much
        return _layout(card.entry().build(card.n_tags).state_dict())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # the rename must not reach the disk before the bytes do


def _swap(beside: Path, folder: Path) -> None:
    if not folder.exists():
        beside.rename(folder)
        return
    # A full folder cannot be renamed over: the old one steps aside for an instant.
    aside = beside.with_name(f"{beside.stem}.old{beside.suffix}")
    folder.rename(aside)
    beside.rename(folder)
    shutil.rmtree(aside)
