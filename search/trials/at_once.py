"""Steps of several trainings at once on a GPU: each launch is that of a layer, or of a rule, of all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from search.trials.optimizer import VELOCITY, Optimizer
from search.trials.precision import computing
from zoo.fast.stacked import Stacked

NUMBERS = 512  # of a program


class AtOnce:
    """The steps of networks that are stacked, until `close`; see cuda_graphs.Stepper. precision: of all of them."""

    def __init__(self, stacked: Stacked, precision: str) -> None:
        self.stacked, self.precision = stacked, precision
        self._rule: _Nesterov | None = None

    def gradients(self, waves: Tensor, tags: Tensor) -> Tensor:
        """Leave them in the parameters. waves: (K, batch, samples). tags: (K, batch, n_tags). Returns losses, (K,)."""
        from search.trials.step_kernels import entropies  # Triton is no part of every torch

        with computing(self.precision, waves.device) as forwards:
            with forwards:
                logits = self.stacked.logits(waves)
            said = logits.detach()
            losses, slopes = tags.new_empty(len(tags)), torch.empty_like(said)
            count = said[0].numel()
            entropies[(len(tags),)](
                said, tags, losses, slopes, count, TURNS=-(-count // NUMBERS), NUMBERS=NUMBERS
            )
            self.stacked.backward(logits, slopes)
        return losses

    def takes(self, optimizers: Sequence[Optimizer]) -> bool:
        """Whether `move` takes the steps of these optimizers from here on. If not, each takes its own."""
        if self._rule is None or self._rule.optimizers != [*optimizers]:
            self._let_go()
            if all(optimizer.momentum for optimizer in optimizers):
                self._rule = _Nesterov(self.stacked, optimizers)
        return self._rule is not None

    def move(self, rates: Tensor) -> None:
        """The step of every optimizer along the gradients, which is not counted. rates: (K,)."""
        assert self._rule is not None
        self._rule.move(rates)

    def close(self) -> None:
        """Networks and optimizers hold what is theirs by themselves again."""
        self._let_go()
        self.stacked.close()

    def _let_go(self) -> None:
        if self._rule is not None:
            self._rule.close()
        self._rule = None


class _Nesterov:
    """Optimizers by Nesterov's rule, whose velocities lie beside each other until `close`."""

    def __init__(self, stacked: Stacked, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers, shelf = list(optimizers), stacked.weights
        self._weights, self._gradient = shelf.memory, stacked.gradient
        self._velocity = torch.zeros_like(self._weights)
        self._lane_of = shelf.lane_of()
        self._momenta, self._decays = (
            torch.tensor([getattr(each, name) for each in optimizers], device=self._weights.device)
            for name in ("momentum", "weight_decay")
        )
        self._homes = [each.slots.get(VELOCITY) for each in optimizers]
        for optimizer, views in zip(optimizers, shelf.of_each(self._velocity), strict=True):
            theirs = [*views.values()]
            if VELOCITY in optimizer.slots:
                torch._foreach_copy_(theirs, optimizer.slots[VELOCITY])
            optimizer.slots[VELOCITY] = theirs

    @torch.no_grad()
    def move(self, rates: Tensor) -> None:
        from search.trials.step_kernels import nesterov

        numbers = len(self._weights)
        nesterov[(-(-numbers // NUMBERS),)](
            *(self._weights, self._gradient, self._velocity, self._lane_of),
            *(rates, self._momenta, self._decays, numbers),
            NUMBERS=NUMBERS,
        )
        for optimizer in self.optimizers:
            optimizer.forget_gradients()

    def close(self) -> None:
        for optimizer, home in zip(self.optimizers, self._homes, strict=True):
            if home is None:
                home = [torch.empty(it.shape, device=it.device) for it in optimizer.slots[VELOCITY]]
            torch._foreach_copy_(home, optimizer.slots[VELOCITY])
            optimizer.slots[VELOCITY] = home
