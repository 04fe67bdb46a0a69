"""Trained networks inside another one: frozen, cut before their classifiers, read on segments of a long wave."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.errors import ZooError
from zoo.layers.blocks1d import TopLevels
from zoo.layers.frontends import LogMel

__all__ = ["Base", "Bases", "bases_of", "check_loaded"]


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
        self.before = nn.Sequential(OrderedDict((name, stages[name]) for name in before))
        self.body = TopLevels(OrderedDict(body.named_children()), layers or len(body))
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
        segments = wave[..., : count * self.input_samples].reshape(-1, 1, self.input_samples)
        return self.body(self.before(segments)).unflatten(0, (-1, count)).mean(dim=1)


class Bases(nn.ModuleDict):
    """Bases by the names of their networks, side by side: (batch, 1, samples) -> (batch, width).

    loaded: 1 once they have weights that somebody trained, which a checkpoint tells too; 0 before.
    """

    loaded: Tensor

    def __init__(self, bases: Mapping[str, Base]) -> None:
        super().__init__(bases)
        self.register_buffer("loaded", torch.zeros((), dtype=torch.int64))

    def forward(self, wave: Tensor) -> Tensor:
        """Run each, join what they give. Raises ZooError in training over bases that were never trained."""
        if self.training:
            self.check_loaded()
        return torch.cat([base(wave) for base in self.values()], dim=1)

    def check_loaded(self) -> None:
        """Raise ZooError if the bases still have fresh weights. On the meta device, which only counts, all is well."""
        if not self.loaded.is_meta and not self.loaded:
            raise ZooError(
                "the bases have fresh weights, over which nothing can be learned: fill them with "
                "zoo.load_bases(network, checkpoints), or say that it is meant so with "
                "zoo.multilevel.accept_untrained(network)"
            )


def check_loaded(network: nn.Module) -> None:
    """Raise ZooError if a network has bases that were never trained."""
    for layer in network.modules():
        if isinstance(layer, Bases):
            layer.check_loaded()


def bases_of(entries: Sequence[Entry], layers: int) -> tuple[Bases, int]:
    """Bases with fresh weights, and how wide what they give together is. Raises ZooError as `Base` does."""
    width = 0
    for entry in entries:
        with torch.device("meta"):  # shapes alone say how wide it is
            base = Base(entry.build(1), layers)
            width += base(torch.zeros(1, 1, entry.input_samples)).shape[1]
    return Bases({entry.name: Base(entry.build(1), layers) for entry in entries}), width
