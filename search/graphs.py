"""A step of training on a GPU as one CUDA graph: its hundreds of launches, captured once, become one.

At the paper's batch of 23 a GPU is done with most layers before the processor has asked for the next one.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import is_

import torch
from torch import Tensor

from search.optimizer import Optimizer

Gradients = Callable[[Tensor, Tensor], Tensor]

WARM_UPS = 3  # libraries choose their ways and take their memory in the first steps, which can't be captured


class Stepper:
    """Steps of training: captured where that is possible, and else launch by launch.

    gradients: as GraphedStep wants them. buffers: gives what they move beside the optimizers' parameters.
    draw:      called before each step, for random numbers that no graph can draw.
    undrawn:   gives a context in which what is drawn does not count.
    captures:  whether to capture at all; it becomes False where the first try shows that it can't be done, as where a
               network waits for the processor.
    """

    def __init__(
        self,
        gradients: Gradients,
        buffers: Callable[[], Iterable[Tensor]],
        captures: bool,
        draw: Callable[[], None] = lambda: None,
        undrawn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.gradients, self.buffers, self.captures = gradients, buffers, captures
        self.draw, self.undrawn = draw, undrawn
        self.graph: GraphedStep | None = None

    def step(
        self, optimizers: Sequence[Optimizer], rates: Sequence[float], wave: Tensor, tags: Tensor
    ) -> Tensor:
        """Move every optimizer's parameters along the gradients of a batch. Returns what `gradients` does."""
        graph = self._captured(optimizers, wave, tags) if self.captures else None
        self.draw()
        if graph is not None:
            return graph(wave, tags, rates)
        losses = self.gradients(wave, tags)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.step(rate)
        return losses

    def _captured(self, optimizers: Sequence[Optimizer], wave: Tensor, tags: Tensor) -> "GraphedStep | None":
        if self.graph is None or not self.graph.fits(optimizers, wave):
            self.graph = None  # its memory goes before that of the next one comes
            try:
                with self.undrawn():
                    self.graph = GraphedStep(self.gradients, optimizers, list(self.buffers()), wave, tags)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self.captures = False
        return self.graph


class GraphedStep:
    """Call it as a step: (waves, tags, learning rate of each optimizer) -> losses, which the next call overwrites.

    gradients: leaves the gradients of a batch in the optimizers' parameters and returns its mean loss, or one for each.
               It is run a few times and captured here, after which everything that it moved is as before; later calls
               only replay it. It must do the same for every batch and wait for nothing.
    buffers:   what it moves beside that, such as batch norm's statistics.
    wave, tags: a batch, of the shape of all others.
    raises:    RuntimeError if it can't be captured.
    """

    def __init__(
        self,
        gradients: Gradients,
        optimizers: Sequence[Optimizer],
        buffers: Sequence[Tensor],
        wave: Tensor,
        tags: Tensor,
    ) -> None:
        self.optimizers = list(optimizers)
        self._wave, self._tags = wave.clone(), tags.clone()
        # Nothing moves at a rate of zero, so warming up leaves the weights alone.
        self._rates = [torch.zeros((), device=wave.device) for _ in self.optimizers]
        self._numbers = [torch.ones((), device=wave.device) for _ in self.optimizers]

        def step() -> Tensor:
            losses = gradients(self._wave, self._tags)
            for optimizer, rate, number in zip(self.optimizers, self._rates, self._numbers, strict=True):
                optimizer.move(rate, number)
            return losses

        random = torch.cuda.get_rng_state(wave.device)
        kept = [(it, it.clone()) for it in [*buffers, *self._remembered()]]
        before = {id(it) for it, _ in kept}
        self._warm_up(step)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, as the one that fetches batches, may use the GPU meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._losses = step()
        for it, value in kept:
            it.copy_(value)
        for it in self._remembered():
            if id(it) not in before:
                it.zero_()  # as good as not there, to every rule
        torch.cuda.set_rng_state(random, wave.device)

    def _remembered(self) -> list[Tensor]:
        return [it for each in self.optimizers for values in each.slots.values() for it in values]

    def fits(self, optimizers: Sequence[Optimizer], wave: Tensor) -> bool:
        """Whether it takes the steps of these optimizers, on such a batch."""
        same = len(optimizers) == len(self.optimizers) and all(map(is_, optimizers, self.optimizers))
        return same and self._wave.shape == wave.shape

    def __call__(self, wave: Tensor, tags: Tensor, learning_rates: Sequence[float]) -> Tensor:
        self._wave.copy_(wave)
        self._tags.copy_(tags)
        given = zip(self.optimizers, self._rates, self._numbers, learning_rates, strict=True)
        for optimizer, rate, number, learning_rate in given:
            optimizer.steps += 1
            rate.fill_(learning_rate)
            number.fill_(optimizer.steps)
        self._graph.replay()
        return self._losses

    @staticmethod
    def _warm_up(step: Callable[[], Tensor]) -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(aside)
