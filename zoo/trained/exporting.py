"""Trained networks for programs without this project: ONNX files and torch's own exported programs.

Front end included: both read the waveform. Both are run before they get their name, and compared with the network.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasets.whole import written_whole
from zoo.errors import ZooError
from zoo.layers.frontends import Spectrogram
from zoo.trained.card import Card
from zoo.trained.tagger import Tagger, load
from zoo.trained.targets import ENDINGS, check_target

__all__ = ["ENDINGS", "Exported", "check_target", "export"]

TOLERANCE = 1e-4  # of a logit; a probability then moves by 0.000025 at most
DIGITS = 1e-5  # of the largest logit, where that is over 10: float32 has no more to give after so many layers
HINTS = {
    "onnx": """\
import json, onnxruntime
session = onnxruntime.InferenceSession({file})
probabilities, logits = session.run(None, {{"wave": waves}})
tags = json.loads(session.get_modelmeta().custom_metadata_map["tags"])""",
    "torch-export": """\
import json, torch
program = torch.export.load({file}, extra_files=(files := {{"card.json": ""}}))
probabilities, logits = program.module()(waves)
tags = json.loads(files["card.json"])["tags"]""",
}

Runner = Callable[[Tensor], NDArray[np.float32]]  # waves -> logits


@dataclass(frozen=True)
class Exported:
    """A file that `export` wrote.

    opset:      of ONNX's operators; None for torch's format.
    difference: the largest between its logits and the network's, over noise, silence and full scale.
    """

    file: Path
    size_bytes: int
    format: str
    opset: int | None
    difference: float
    card: Card

    def __str__(self) -> str:
        """What there is to know of it, and the lines of Python that use it."""
        card, megabytes = self.card, self.size_bytes / 1e6
        opset = f", opset {self.opset}" if self.opset else ""
        hint = HINTS[self.format].format(file=json.dumps(str(self.file), ensure_ascii=False))
        return (
            f"{self.file}: {card.network} as {self.format}{opset}, {megabytes:.1f} MB\n"
            f"its logits are the network's to {self.difference:.1g}, on noise, silence and full scale\n"
            f"waves are (batch, {card.segment_samples}) float32 in [-1, 1], mono at {card.sample_rate_hz} Hz; "
            f"a clip's probabilities are the mean of those of its segments:\n{hint}"
        )


def export(model: str | Path | Tagger, out: str | Path, format: str = "onnx") -> Exported:
    """Write a trained network as one file that other programs run.

    Its input "wave" is (batch, segment_samples) float32, the batch of any size from 1; its outputs "probabilities" and
    "logits" are (batch, n_tags). The card goes along: as ONNX metadata (whole under "card", and by field), or as the
    extra file card.json of a torch program. No path of this machine does.
    model:  an address as in `zoo.load`, or what it gave.
    out:    the file, in a folder that is there; one of this name is replaced, but only by a file that passed.
    format: "onnx" (out ends in .onnx) or "torch-export" (.pt2).
    raises: ZooError for another format or place, a network that cannot be traced, or logits that differ.
    """
    file = check_target(out, format)
    tagger = model if isinstance(model, Tagger) else load(model)
    network = deepcopy(tagger.network).cpu().eval()
    with _quiet(), torch.no_grad(), written_whole(file) as part:
        try:
            program = _traced(network, tagger.segment_samples)
            opset, run = (_write_onnx if format == "onnx" else _write_program)(program, tagger.card, part)
            difference = _compare(network, run, tagger.card, format)
        except ZooError:
            raise
        # torch, its compiler, onnxscript and onnxruntime have no error class in common.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ZooError(f"{tagger.card.network} cannot be exported as {format}: {reason}") from error
        size_bytes = part.stat().st_size
    return Exported(file, size_bytes, format, opset, difference, tagger.card)


class _Outputs(nn.Module):
    """The network with the probabilities next to its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(wave)
        return logits.sigmoid(), logits


def _traced(network: nn.Module, samples: int) -> torch.export.ExportedProgram:
    traced = _Outputs(deepcopy(network))
    for layer in traced.modules():
        if isinstance(layer, Spectrogram):
            layer.use_matrix()
    # Two segments: torch takes a size of one for a constant, even where it is told that the batch may vary.
    wave = torch.zeros(2, samples)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(traced, (wave,), dynamic_shapes={"wave": {0: batch}})
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # lines of source with their place on this machine
    return program


def _write_onnx(program: torch.export.ExportedProgram, card: Card, part: Path) -> tuple[int, Runner]:
    import onnxruntime

    made = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["wave"],
        output_names=["probabilities", "logits"],
        dynamic_shapes={"wave": {0: "batch"}},
        verbose=False,
    )
    assert made is not None  # it is only when torch writes the file itself
    made.model.metadata_props.update(_metadata(card))
    made.save(part)
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

    def run(waves: Tensor) -> NDArray[np.float32]:
        return session.run(["logits"], {"wave": waves.numpy()})[0]

    return made.model.opset_imports[""], run


def _metadata(card: Card) -> Mapping[str, str]:
    """The card as text by field, for readers of one field, and whole."""
    fields = asdict(card)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    return {**texts, "card": card.to_json()}


def _write_program(program: torch.export.ExportedProgram, card: Card, part: Path) -> tuple[None, Runner]:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"card.json": card.to_json()})
    part.write_bytes(content.getvalue())
    content.seek(0)
    again = torch.export.load(content).module()

    def run(waves: Tensor) -> NDArray[np.float32]:
        return again(waves)[1].numpy()

    return None, run


def _compare(network: nn.Module, run: Runner, card: Card, format: str) -> float:
    """The largest difference of a logit. Raises ZooError if it is too large, or no number."""
    largest = 0.0
    for sound, waves in _waves(card.segment_samples):
        expected = network(waves).numpy()
        difference = float(np.abs(run(waves) - expected).max())
        if not difference <= max(TOLERANCE, DIGITS * np.abs(expected).max()):  # nor for a NaN
            raise ZooError(
                f"{card.network} as {format} is not written: on {sound} its logits differ from the network's by "
                f"{difference:.3g}, more than {TOLERANCE}"
            )
        largest = max(largest, difference)
    return largest


def _waves(samples: int) -> Iterator[tuple[str, Tensor]]:
    chance = torch.Generator().manual_seed(0)
    noise = torch.rand(3, samples, generator=chance) * 2 - 1
    yield "noise", noise
    yield "one segment of noise", noise[:1]
    yield "silence", torch.zeros(1, samples)
    yield "full scale", torch.where(noise < 0, -1.0, 1.0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch says about its own insides: nobody who exports a network can act on it."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # "torchvision is not installed", four times
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            yield
    finally:
        log.setLevel(level)
