"""Steps of training on a GPU as CUDA graphs: hundreds of launches, captured once, become one.

At the paper's batch of 23 a GPU is done with most layers before the processor has asked for the next one, and even a
graph of one training leaves most of it idle. So a graph may hold the steps of several: each in a stream of its own, or
by one way for all at once.
"""

import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from operator import is_

import torch
from torch import Tensor

from search.failures import memory_kind
from search.trials.at_once import AtOnce
from search.trials.optimizer import Optimizer
from zoo.fast.branches import side_by_side
from zoo.fast.noise import Chance

Gradients = Callable[[Tensor, Tensor], Tensor]  # see Stepper

WARM_UPS = 3  # libraries choose their ways and take their memory in the first steps, which can't be captured


class Stepper:
    """Takes the steps of K trainings: as one graph where that is possible, and else one after the other.

    lanes:    of each training: leaves the gradients of a batch, (batch, samples) waves and (batch, n_tags) tags, in its
              parameters and returns its mean loss.
    buffers:  gives what they move beside the optimizers' parameters, such as batch norm's statistics.
    captures: whether to try graphs at all; it becomes False where a network does what no graph can hold, as waiting for
              the processor; `why_plain` then tells what that was.
    chances:  of each training, from which its lane draws; none where all draw from torch's own generator.
    at_once:  takes the place of all lanes where there is such a way.
    """

    def __init__(
        self,
        lanes: Sequence[Gradients],
        buffers: Callable[[], Iterable[Tensor]],
        captures: bool,
        chances: Sequence[Chance] = (),
        at_once: AtOnce | None = None,
    ) -> None:
        self.lanes, self.buffers, self.captures = list(lanes), buffers, captures
        self.chances, self.at_once = list(chances), at_once
        self.graph: GraphedStep | None = None
        self.why_plain = ""

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
        if graph is not None:
            return graph(waves, tags, rates)
        if self.at_once is not None:
            losses = list(self.at_once.gradients(torch.stack(list(waves)), torch.stack(list(tags))))
            for optimizer, rate in zip(optimizers, rates, strict=True):
                optimizer.step(rate)
            return losses
        losses = []
        for k, gradients in enumerate(self.lanes):
            with _own(self.chances, k):
                losses.append(gradients(waves[k], tags[k]))
            optimizers[k].step(rates[k])
        return losses

    def _captured(
        self, optimizers: Sequence[Optimizer], waves: Sequence[Tensor], tags: Sequence[Tensor]
    ) -> "GraphedStep | None":
        if self.graph is None or not self.graph.fits(optimizers, waves):
            self.graph = None  # its memory goes before that of the next one comes
            try:
                self.graph = GraphedStep(
                    self.lanes, optimizers, list(self.buffers()), waves, tags, self.chances, self.at_once
                )
            except RuntimeError as error:
                if memory_kind(error):
                    raise
                self.captures, self.why_plain = False, traceback.format_exc()
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
        chances: Sequence[Chance] = (),
        at_once: AtOnce | None = None,
    ) -> None:
        self.lanes, self.optimizers = list(lanes), list(optimizers)
        self.chances, self.at_once = list(chances), at_once
        # What each batch is copied into, in one run of memory where all at once is read from it.
        self._inputs = [torch.stack(list(some)) for some in (waves, tags)] if at_once else []
        views = [list(it) for it in self._inputs] or [[it.clone() for it in some] for some in (waves, tags)]
        self._waves, self._tags = views
        self._device = device = waves[0].device
        # Nothing moves at a rate of zero, so warming up leaves the weights alone.
        self._all_rates = torch.zeros(len(self.optimizers), device=device)
        self._rates = list(self._all_rates.unbind())
        self._numbers = [torch.ones((), dtype=torch.float64, device=device) for _ in self.optimizers]
        self._moves_at_once = at_once is not None and at_once.takes(self.optimizers)
        random = torch.cuda.get_rng_state(device)
        kept = [(it, it.clone()) for it in [*buffers, *self._remembered()]]
        try:
            with torch.cuda.device(device), ExitStack() as undrawn:
                for chance in self.chances:
                    undrawn.enter_context(chance.undrawn())
                self._capture()
        finally:
            self._undo(kept)
            torch.cuda.set_rng_state(random, device)

    def _capture(self) -> None:
        for _ in range(WARM_UPS):
            self._all()
        self._graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        for chance in self.chances:
            chance.register(self._graph)
        try:
            # The stream in use is set again behind it, since a capture that fails leaves its own one behind. Other
            # threads, as the one that fetches batches, may use the GPU meanwhile.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"),
            ):
                self._losses = self._all()
        except RuntimeError:
            _end_allocation(self._device, pool)
            _end_captures(self._device, self.chances)
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
        if not self._moves_at_once:
            _fill(self._numbers, [optimizer.steps for optimizer in self.optimizers])
        self._graph.replay()
        return self._losses

    def _all(self) -> list[Tensor]:
        """Every training's step."""
        lanes = range(len(self.optimizers))
        if self.at_once is None:
            return side_by_side(self._device, [partial(self._one, k) for k in lanes])
        losses = list(self.at_once.gradients(*self._inputs))
        if self._moves_at_once:
            self.at_once.move(self._all_rates)
        else:
            side_by_side(self._device, [partial(self._move, k) for k in lanes])
        return losses

    def _one(self, k: int) -> Tensor:
        with _own(self.chances, k):
            loss = self.lanes[k](self._waves[k], self._tags[k])
        self._move(k)
        return loss

    def _move(self, k: int) -> None:
        self.optimizers[k].move(self._rates[k], self._numbers[k])

    def _remembered(self) -> list[Tensor]:
        return [it for each in self.optimizers for values in each.slots.values() for it in values]


def _own(chances: Sequence[Chance], k: int) -> AbstractContextManager[None]:
    return chances[k].own() if chances else nullcontext()


def _fill(numbers: list[Tensor], values: list[float]) -> None:
    """Each of one kind, (), with its value, in at most two launches for however many there are."""
    if len(numbers) == 1:
        numbers[0].fill_(values[0])
        return
    torch._foreach_zero_(numbers)
    torch._foreach_add_(numbers, values)


def _end_allocation(device: torch.device, pool: tuple[int, int]) -> None:
    """After a capture that failed torch's allocator believes that it still runs, and gives no memory back to the GPU.

    pool: of the capture. One that had come as far as ending it by itself is left as it is.
    """
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(device.index, pool)
        torch._C._cuda_releasePool(device.index, pool)


def _end_captures(device: torch.device, chances: Sequence[Chance]) -> None:
    """After a capture that failed its generators believe that it still runs; one that ends well tells them better."""
    with suppress(RuntimeError):
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        for chance in chances:
            chance.register(graph)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            torch.rand(1, device=device)
