"""Trained networks inside another one: frozen, cut before their classifiers, read on segments of a long wave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.errors import ZooError
from zoo.frontends import LogMel

__all__ = ["Base", "Bases", "bases_of"]


class Base(nn.Module):
    """One network up to its `body`, in evaluation for good and out of every optimizer's reach.

    network: whose stages up to `body` are taken over.
    layers:  how many of the top layers of the body to read; 0 reads all.
    raises:  ZooError if the network has no body of layers in a row, or fewer than `layers`.
    """

    def __init__(self, network: nn.Module, layers: int) -> None:
        super().__init__()
        self.input_samples = int(network.input_samples)  # type: ignore[arg-type]  # every WaveNetwork has it
        stages = dict(network.named_children())
        body = stages.get("body")
        if not isinstance(body, nn.Sequential):
            raise ZooError(
                f"bases: {network.name} has no body of layers in a row, so it has no levels to read"
            )
        if layers > len(body):
            raise ZooError(
                f"layers={layers}: the body of {network.name} has {len(body)}; ask for fewer, or 0"
            )
        before = list(stages)[: list(stages).index("body")]
        self.before = nn.ModuleDict({name: stages[name] for name in before})
        self.body = body
        self.skipped = len(body) - (layers or len(body))
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for layer in self.modules():
            if isinstance(layer, LogMel):
                layer.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Base:
        """Stay in evaluation: the norms keep the statistics that the network was trained with."""
        return super().train(False)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, channels of the layers that are read).

        The wave is cut into segments from sample 0, without an incomplete last one; of each channel the maximum over
        time in every segment, and of these the mean over segments.
        """
        count = wave.shape[2] // self.input_samples
        values = wave[..., : count * self.input_samples].reshape(-1, 1, self.input_samples)
        for stage in self.before.values():
            values = stage(values)
        levels = []
        for i, layer in enumerate(self.body):
            values = layer(values)
            if i >= self.skipped:
                levels.append(values.flatten(2).amax(dim=2))
        return torch.cat(levels, dim=1).unflatten(0, (-1, count)).mean(dim=1)


class Bases(nn.ModuleDict):
    """Bases by the names of their networks, side by side: (batch, 1, samples) -> (batch, width)."""

    def forward(self, wave: Tensor) -> Tensor:
        """Run each, join what they give."""
        return torch.cat([base(wave) for base in self.values()], dim=1)


def bases_of(entries: Sequence[Entry], layers: int) -> tuple[Bases, int]:
    """Bases with fresh weights, and how wide what they give together is. Raises ZooError as `Base` does."""
    width = 0
    for entry in entries:
        with torch.device("meta"):  # shapes alone say how wide it is
            base = Base(entry.build(1), layers)
            width += base(torch.zeros(1, 1, entry.input_samples)).shape[1]
    return Bases({entry.name: Base(entry.build(1), layers) for entry in entries}), width
