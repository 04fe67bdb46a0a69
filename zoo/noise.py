"""Random numbers of several trainings in one process: each draws from a stream of its own, as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

__all__ = ["Chance", "DrawnAhead"]


class Chance:
    """The state of torch's generators as one training has it, while others draw from them in between."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._states = self._now()

    @contextmanager
    def own(self) -> Iterator[None]:
        """What is drawn in here goes on from what was drawn in here before."""
        others = self._now()
        self._set(self._states)
        try:
            yield
        finally:
            self._states = self._now()
            self._set(others)

    @contextmanager
    def undrawn(self) -> Iterator[None]:
        """What is drawn in here is drawn once more afterwards."""
        states = self._states
        try:
            yield
        finally:
            self._states = states

    def _now(self) -> list[Tensor]:
        on_gpu = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *on_gpu]

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)


class DrawnAhead:
    """Networks whose dropout is drawn before each step and not in it, for steps that are replayed.

    networks: whose nn.Dropout layers are replaced until `close`. chances: of each, from which it draws.
    """

    def __init__(self, networks: Sequence[nn.Module], chances: Sequence[Chance]) -> None:
        self.chances = list(chances)
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        self._layers: list[list[_Drawn]] = []
        for network, chance in zip(networks, self.chances, strict=True):
            reached: list[_Drawn] = []  # in the order in which they are
            self._layers.append(reached)
            for parent in list(network.modules()):
                for name, layer in parent.named_children():
                    if isinstance(layer, nn.Dropout):
                        self._replaced.append((parent, name, layer))
                        setattr(parent, name, _Drawn(layer, chance, reached))

    def draw(self) -> None:
        """Draw for the next step. For layers that were not reached yet there is nothing to do: they draw themselves."""
        for chance, layers in zip(self.chances, self._layers, strict=True):
            if layers:
                with chance.own():
                    for layer in layers:
                        layer.draw()

    @contextmanager
    def undrawn(self) -> Iterator[None]:
        """What is drawn in here is drawn once more afterwards."""
        with ExitStack() as all_of_them:
            for chance in self.chances:
                all_of_them.enter_context(chance.undrawn())
            yield

    def close(self) -> None:
        """Give the networks their own layers back."""
        for parent, name, layer in self._replaced:
            setattr(parent, name, layer)


class _Drawn(nn.Module):
    """Dropout by what was drawn last. reached: of its network's layers, where it joins in at its first step."""

    def __init__(self, layer: nn.Dropout, chance: Chance, reached: list[_Drawn]) -> None:
        super().__init__()
        self.p, self.chance, self.reached = layer.p, chance, reached
        self.training = layer.training
        self.noise: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        if self.noise is None or self.noise.shape != values.shape:
            self.noise = torch.empty_like(values.detach())
            with self.chance.own():
                self.draw()
            if self not in self.reached:
                self.reached.append(self)
        return values * self.noise

    def draw(self) -> None:
        """From torch's own generators as they are now."""
        assert self.noise is not None
        self.noise.copy_(dropout(torch.ones_like(self.noise), self.p))
