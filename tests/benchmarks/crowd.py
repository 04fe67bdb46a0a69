"""Steps of K networks: one by one, as one, and, as a process of its own, one of K that share a machine.

`python -m tests.benchmarks.crowd NETWORK K BATCH THREADS DEVICE PRECISION` answers each line on its input with a step,
on a GPU with as many as are taken in a row, and with the processor seconds of one.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import zoo
from search.settings import FLOAT32
from search.trials import worker
from search.trials.cuda_graphs import Stepper
from search.trials.optimizer import Optimizer, make
from search.trials.replicates import stepper_of
from zoo.fast.noise import Chance

from .stepping import gradients_of

LEARNING_RATE = 0.01
IN_A_ROW = 20  # steps on a GPU before they are waited for, as an epoch waits for none


@dataclass(frozen=True)
class Taken:
    """Of one step of all networks, in seconds."""

    wall: float
    core: float

    def part(self, count: int) -> "Taken":
        """Of one of so many."""
        return Taken(self.wall / count, self.core / count)


Step = Callable[[], Taken]


def one_by_one(names: Sequence[str], batch: int, device: str, precision: str = FLOAT32) -> Step:
    """Each network steps after the other, on a GPU as a captured graph."""
    networks, optimizers = _prepared(names, device)
    waves, tags = _batches(networks, batch, device)
    steppers = [
        Stepper([gradients_of(network, precision)], network.buffers, captures=device == "cuda")
        for network in networks
    ]

    def step() -> None:
        for each, optimizer, wave, wanted in zip(steppers, optimizers, waves, tags, strict=True):
            each.step([optimizer], [LEARNING_RATE], [wave], [wanted])
            _check_is_graph(each, device)

    return _measured(step, device)


def as_one(names: Sequence[str], batch: int, device: str, precision: str = FLOAT32) -> Step:
    """All together, as a search trains them: on a GPU in one graph, layer by layer if they are m^n of one kind."""
    return _together(names, batch, device, precision, layer_by_layer=True)


def beside(names: Sequence[str], batch: int, device: str, precision: str = FLOAT32) -> Step:
    """All together, on a GPU in one graph with a stream for each."""
    return _together(names, batch, device, precision, layer_by_layer=False)


def _together(names: Sequence[str], batch: int, device: str, precision: str, *, layer_by_layer: bool) -> Step:
    networks, optimizers = _prepared(names, device)
    waves, tags = _batches(networks, batch, device)
    lanes = [gradients_of(network, precision) for network in networks]
    chances = [Chance(torch.device(device)) for _ in networks]
    alike = (batch, precision) if layer_by_layer else (None, None)
    held = ExitStack()
    stepper = held.enter_context(stepper_of(networks, lanes, chances, *alike))

    def step() -> None:
        assert held  # the networks stay as they are for as long as the step is there
        stepper.step(optimizers, [LEARNING_RATE] * len(networks), waves, tags)
        _check_is_graph(stepper, device)

    return _measured(step, device)


def _check_is_graph(stepper: Stepper, device: str) -> None:
    """raises: RuntimeError if a GPU takes the steps without one, which would be measured as one."""
    if device == "cuda" and stepper.graph is None:
        raise RuntimeError(f"the steps are no CUDA graph, so nothing was measured:\n{stepper.why_plain}")


FORMS = {"one by one": one_by_one, "as one": as_one}
ON_A_GPU = {"beside": beside}  # on a processor it is the same as one


def _prepared(names: Sequence[str], device: str) -> tuple[list[nn.Module], list[Optimizer]]:
    networks = []
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        networks.append(zoo.create(name).to(device).train())
    return networks, [make("nesterov", network.parameters()) for network in networks]


def _batches(networks: list[nn.Module], batch: int, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """Of each network: noise (batch, samples), and tags (batch, n_tags)."""
    waves = [torch.rand(batch, it.input_samples, device=device) * 2 - 1 for it in networks]
    tags = [(torch.rand(batch, it.n_tags, device=device) < 0.1).float() for it in networks]
    return waves, tags


def in_a_row(device: str) -> int:
    """How many steps are measured at once."""
    return IN_A_ROW if device == "cuda" else 1


def _measured(step: Callable[[], None], device: str) -> Step:
    count = in_a_row(device)

    def steps() -> None:
        for _ in range(count):
            step()

    return lambda: timed(steps, device).part(count)


def timed(step: Callable[[], float | None], device: str) -> Taken:
    """A step, to its end; of the processor seconds those that the step tells, or else this process's."""
    wall, core = time.perf_counter(), time.process_time()
    told = step()
    if device == "cuda":
        torch.cuda.synchronize()
    spent = time.process_time() - core if told is None else told
    return Taken(time.perf_counter() - wall, spent)


def main(name: str, count: int, batch: int, threads: int, device: str, precision: str) -> None:
    """Answer until the input ends."""
    worker.prepare(threads, 1 / count if device == "cuda" else 0.0)
    step = one_by_one([name], batch, device, precision)
    for _ in sys.stdin:
        print(step().core, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:7])
