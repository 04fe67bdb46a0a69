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
        self._noises = [_Noises(chance) for chance in self.chances]
        self._hooks = [
            network.register_forward_pre_hook(noises.begin)
            for network, noises in zip(networks, self._noises, strict=True)
        ]
        for network, noises in zip(networks, self._noises, strict=True):
            for parent in list(network.modules()):
                for name, layer in parent.named_children():
                    if isinstance(layer, nn.Dropout):
                        self._replaced.append((parent, name, layer))
                        setattr(parent, name, _Drawn(layer, noises))

    def draw(self) -> None:
        """Draw for the next step. Before a network's first one there is nothing to do: it draws itself."""
        drawn = [it for noises in self._noises for it in noises.drawn()]
        if drawn:  # where the old ones lie, in as few launches as there are networks, and one
            torch._foreach_copy_([it for noises in self._noises for it in noises.noises], drawn)

    def begin(self) -> None:
        """All networks are run from their beginning, by someone who does not call them."""
        for noises in self._noises:
            noises.begin()

    @contextmanager
    def undrawn(self) -> Iterator[None]:
        """What is drawn in here is drawn once more afterwards."""
        with ExitStack() as all_of_them:
            for chance in self.chances:
                all_of_them.enter_context(chance.undrawn())
            yield

    def close(self) -> None:
        """Give the networks their own layers back."""
        for hook in self._hooks:
            hook.remove()
        for parent, name, layer in self._replaced:
            setattr(parent, name, layer)


class _Noises:
    """What a network's dropout leaves out in a step: a noise for each call of a layer, in the order of the calls."""

    def __init__(self, chance: Chance) -> None:
        self.chance, self.calls = chance, 0
        self.shares: list[float] = []
        self.ones: list[Tensor] = []
        self.noises: list[Tensor] = []

    def begin(self, *given: object) -> None:
        """The network is run from its beginning."""
        self.calls = 0

    def next(self, values: Tensor, share: float) -> Tensor:
        """The noise for the call that comes next; drawn here if it was never made."""
        at, self.calls = self.calls, self.calls + 1
        if at == len(self.noises) or self.noises[at].shape != values.shape:
            self.ones[at:] = [torch.ones_like(values.detach())]
            self.shares[at:] = [share]
            with self.chance.own():
                self.noises[at:] = [dropout(self.ones[at], share)]
        return self.noises[at]

    def drawn(self) -> list[Tensor]:
        """All of them anew, elsewhere."""
        if not self.noises:
            return []
        with self.chance.own():
            return [dropout(ones, share) for ones, share in zip(self.ones, self.shares, strict=True)]


class _Drawn(nn.Module):
    """Dropout by what was drawn last."""

    def __init__(self, layer: nn.Dropout, noises: _Noises) -> None:
        super().__init__()
        self.p, self.noises, self.training = layer.p, noises, layer.training

    def forward(self, values: Tensor) -> Tensor:
        return values * self.noise(values) if self.training else values

    def noise(self, values: Tensor) -> Tensor:
        """What the values are to be multiplied by: zero, or what makes up for the zeros."""
        return self.noises.next(values, self.p)
