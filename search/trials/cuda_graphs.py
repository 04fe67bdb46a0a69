"""Steps of training on a GPU as CUDA graphs: hundreds of launches, captured once, become one.

At the paper's batch of 23 a GPU is done with most layers before the processor has asked for the next one, and even a
graph of one training leaves most of it idle. So a graph may hold the steps of several: each in a stream of its own, or
by one way for all at once.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from operator import is_

import torch
from torch import Tensor

from search.failures import memory_kind
from search.trials.optimizer import Optimizer

Gradients = Callable[[Tensor, Tensor], Tensor]  # see Stepper: of one training, and of all

WARM_UPS = 3  # libraries choose their ways and take their memory in the first steps, which can't be captured


class Stepper:
    """Takes the steps of K trainings: as one graph where that is possible, and else one after the other.

    lanes:    of each training: leaves the gradients of a batch, (batch, samples) waves and (batch, n_tags) tags, in its
              parameters and returns its mean loss.
    buffers:  gives what they move beside the optimizers' parameters, such as batch norm's statistics.
    captures: whether to try graphs at all; it becomes False where a network does what no graph can hold, as waiting for
              the processor.
    draw:     called before each step, for random numbers that no graph can draw.
    undrawn:  gives a context in which what is drawn does not count.
    at_once:  takes the place of all lanes where there is such a way: the gradients of (K, batch, samples) and
              (K, batch, n_tags). Returns all mean losses, (K,).
    """

    def __init__(
        self,
        lanes: Sequence[Gradients],
        buffers: Callable[[], Iterable[Tensor]],
        captures: bool,
        draw: Callable[[], None] = lambda: None,
        undrawn: Callable[[], AbstractContextManager[None]] = nullcontext,
        at_once: Gradients | None = None,
    ) -> None:
        self.lanes, self.buffers, self.captures = list(lanes), buffers, captures
        self.draw, self.undrawn, self.at_once = draw, undrawn, at_once
        self.graph: GraphedStep | None = None

    def step(
        self,
        optimizers: Sequence[Optimizer],
        rates: Sequence[float],
        waves: Sequence[Tensor],
        tags: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        """Take the step of each training along the gradients of its batch. Returns the mean loss of each.

        The losses of a graph are overwritten by its next step.
        """
        graph = self._captured(optimizers, waves, tags) if self.captures else None
        self.draw()
        if graph is not None:
            return graph(waves, tags, rates)
        if self.at_once is not None:
            losses = list(self.at_once(torch.stack(list(waves)), torch.stack(list(tags))))
            for optimizer, rate in zip(optimizers, rates, strict=True):
                optimizer.step(rate)
            return losses
        losses = []
        for gradients, optimizer, rate, wave, wanted in zip(
            self.lanes, optimizers, rates, waves, tags, strict=True
        ):
            losses.append(gradients(wave, wanted))
            optimizer.step(rate)
        return losses

    def _captured(
        self, optimizers: Sequence[Optimizer], waves: Sequence[Tensor], tags: Sequence[Tensor]
    ) -> "GraphedStep | None":
        if self.graph is None or not self.graph.fits(optimizers, waves):
            self.graph = None  # its memory goes before that of the next one comes
            try:
                with self.undrawn():
                    self.graph = GraphedStep(
                        self.lanes, optimizers, list(self.buffers()), waves, tags, self.at_once
                    )
            except RuntimeError as error:
                if memory_kind(error):
                    raise
                self.captures = False
        return self.graph


class GraphedStep:
    """The steps of K trainings, captured; see Stepper.

    Each is run a few times and captured here, after which everything that it moved is as before; later calls only
    replay it. So it must do the same for every batch, of the shape of this one, and wait for nothing.
    raises: RuntimeError if it can't be captured.
    """

    def __init__(
        self,
        lanes: Sequence[Gradients],
        optimizers: Sequence[Optimizer],
        buffers: Sequence[Tensor],
        waves: Sequence[Tensor],
        tags: Sequence[Tensor],
        at_once: Gradients | None = None,
    ) -> None:
        self.lanes, self.optimizers, self.at_once = list(lanes), list(optimizers), at_once
        # What each batch is copied into, in one run of memory where all at once is read from it.
        self._inputs = [torch.stack(list(some)) for some in (waves, tags)] if at_once else []
        views = [list(it) for it in self._inputs] or [[it.clone() for it in some] for some in (waves, tags)]
        self._waves, self._tags = views
        self._device = device = waves[0].device
        # Nothing moves at a rate of zero, so warming up leaves the weights alone.
        self._rates = [torch.zeros((), device=device) for _ in self.optimizers]
        self._numbers = [torch.ones((), dtype=torch.float64, device=device) for _ in self.optimizers]
        self._streams = _lane_streams(device, len(self.lanes))
        random = torch.cuda.get_rng_state(device)
        kept = [(it, it.clone()) for it in [*buffers, *self._remembered()]]
        try:
            with torch.cuda.device(device):
                self._capture()
        finally:
            self._undo(kept)
            torch.cuda.set_rng_state(random, device)

    def _capture(self) -> None:
        for _ in range(WARM_UPS):
            self._all()
        self._graph = torch.cuda.CUDAGraph()
        try:
            # The stream in use is set again behind it, since a capture that fails leaves its own one behind. Other
            # threads, as the one that fetches batches, may use the GPU meanwhile.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(self._graph, capture_error_mode="thread_local"),
            ):
                self._losses = self._all()
        except RuntimeError:
            _end_captures(self._device)
            raise

    def _undo(self, kept: Sequence[tuple[Tensor, Tensor]]) -> None:
        """What the steps until here have moved. kept: with what was in it before."""
        before = {id(it) for it, _ in kept}
        for it, value in kept:
            it.copy_(value)
        for it in self._remembered():
            if id(it) not in before:
                it.zero_()  # as good as not there, to every rule
        for optimizer in self.optimizers:
            for parameter in optimizer.parameters:
                parameter.grad = None

    def fits(self, optimizers: Sequence[Optimizer], waves: Sequence[Tensor]) -> bool:
        """Whether it takes the steps of these optimizers, on such batches."""
        same = len(optimizers) == len(self.optimizers) and all(map(is_, optimizers, self.optimizers))
        return same and [it.shape for it in waves] == [it.shape for it in self._waves]

    def __call__(
        self, waves: Sequence[Tensor], tags: Sequence[Tensor], rates: Sequence[float]
    ) -> list[Tensor]:
        torch._foreach_copy_(self._waves, list(waves))
        torch._foreach_copy_(self._tags, list(tags))
        for optimizer in self.optimizers:
            optimizer.steps += 1
        _fill(self._rates, list(rates))
        _fill(self._numbers, [optimizer.steps for optimizer in self.optimizers])
        self._graph.replay()
        return self._losses

    def _all(self) -> list[Tensor]:
        """Every training's step, beside each other."""
        here = torch.cuda.current_stream(self._device)
        # What it leaves is used and let go of in other streams, for which this one waits before it takes memory again.
        losses = list(self.at_once(*self._inputs)) if self.at_once is not None else []
        for k, stream in enumerate(self._streams):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                if self.at_once is None:
                    losses.append(self.lanes[k](self._waves[k], self._tags[k]))
                self.optimizers[k].move(self._rates[k], self._numbers[k])
        for stream in self._streams:
            here.wait_stream(stream)
        return losses

    def _remembered(self) -> list[Tensor]:
        return [it for each in self.optimizers for values in each.slots.values() for it in values]


def _fill(numbers: list[Tensor], values: list[float]) -> None:
    """Each of one kind, (), with its value, in at most two launches for however many there are."""
    if len(numbers) == 1:
        numbers[0].fill_(values[0])
        return
    torch._foreach_zero_(numbers)
    torch._foreach_add_(numbers, values)


@cache
def _all_lane_streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Kept for good: torch holds memory for every stream that multiplies matrices, which no one gives back."""
    return []


def _lane_streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    streams = _all_lane_streams(device)
    while len(streams) < count:
        streams.append(torch.cuda.Stream(device))
    return streams[:count]


def _end_captures(device: torch.device) -> None:
    """After a capture that failed the generator believes that it still runs; one that ends well tells it better."""
    with suppress(RuntimeError):
        torch.cuda.synchronize(device)
        with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
            torch.rand(1, device=device)
