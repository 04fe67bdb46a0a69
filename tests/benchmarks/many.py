"""How many trainings an hour: K replicates of a network as one, and the same K one after the other, in one run.

    python -m tests.benchmarks.many

Words (key=value):
    networks=A,B       by name (default: three that leave a machine idle)
    replicates=1,2,4   how many at once (default: 1, 2, 4, 8 and 16)
    batch=23           segments of a step of each
    steps=1000         of a training, of which the trainings an hour are told
    rounds=5           of which the medians are taken, after one to get warm; the forms take their steps in turn
    threads=1          of each process
    device=cpu         or cuda, where K processes that share the GPU are measured, too
    precision=float32  or winograd or bf16 on cpu, tf32 or bf16 on cuda
    processes=no       yes: measure those on a processor, too
    mps=no             yes: measure processes by NVIDIA's MPS, too, with a daemon that this starts and ends

Forms: one by one; as one, as a search trains them; on a GPU "beside", too, one graph with a stream for each. There each
takes 20 steps before they are waited for, as an epoch waits for none.
Prints Markdown. Ratios are medians of the ratios within a round: of processor seconds on a processor, where others may
be at work, and of seconds on a GPU.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from datasets import words as typed
from datasets.errors import DatasetError

from .command import Say, device_and_precision, load, names, run, whole_numbers
from .mps import mps

if TYPE_CHECKING:
    from .crowd import Taken

ROOT = Path(__file__).parents[2]
SMALL = ("samplecnn_m3_n3_s729", "samplecnn_m3_n4_s729", "melcnn_m3_n4_s729_w729")
REPLICATES = (1, 2, 4, 8, 16)
HEADS = ("network", "K", "form", "wall ms", "core ms", "trainings an hour", "times one by one")


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...] = SMALL
    replicates: tuple[int, ...] = REPLICATES
    batch: int = 23
    steps: int = 1000
    rounds: int = 5
    threads: int = 1
    device: str = "cpu"
    precision: str = "float32"
    processes: bool = False
    mps: bool = False


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    least = {"batch": (2, 23), "steps": (1, 1000), "rounds": (1, 5), "threads": (1, 1)}
    switches = ("processes", "mps")
    given = typed.parse(words, ("networks", "replicates", *least, "device", "precision", *switches))
    numbers = whole_numbers(given, least)
    counts = given.get("replicates", ",".join(map(str, REPLICATES))).split(",")
    if not all(count.isdecimal() and int(count) for count in counts):
        raise DatasetError(f"replicates={given['replicates']}: give whole numbers from 1 on, as 1,2,4")
    device, precision = device_and_precision(given)
    for switch in switches:
        if given.get(switch, "no") not in ("yes", "no"):
            raise DatasetError(f"{switch}={given[switch]}: give yes or no")
    processes, with_mps = (given.get(switch) == "yes" for switch in switches)
    if with_mps and device != "cuda":
        raise DatasetError("mps=yes: that is for GPUs; take device=cuda, too")
    return Settings(
        names(given, SMALL),
        tuple(map(int, counts)),
        **numbers,
        device=device,
        precision=precision,
        processes=processes or device == "cuda",
        mps=with_mps,
    )


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure network after network, and say the table as it grows. raises: DatasetError where there is no GPU."""
    import torch

    from search.trials import worker

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise DatasetError("device=cuda: this machine has no GPU that torch can use; take device=cpu")
    worker.prepare(wanted.threads)
    say(
        f"batch {wanted.batch}, {wanted.threads} threads, {wanted.device}, {wanted.precision}, load {load()}\n"
    )
    say(f"| {' | '.join(HEADS)} |\n| --- | ---: | --- |{' ---: |' * (len(HEADS) - 3)}")
    for name in wanted.networks:
        for count in wanted.replicates:
            for line in rows(name, count, measured(name, count, wanted), wanted):
                say(line)
    say(f"\nload after: {load()}")


def measured(name: str, count: int, wanted: Settings) -> dict[str, list["Taken"]]:
    """A step of all replicates in each form, in turn; the first form is one by one."""
    from .crowd import FORMS, ON_A_GPU

    forms = FORMS | (ON_A_GPU if wanted.device == "cuda" else {})
    with ExitStack() as open_ones:
        steps = {
            form: make([name] * count, wanted.batch, wanted.device, wanted.precision)
            for form, make in forms.items()
        }
        if wanted.processes:
            steps["processes"] = open_ones.enter_context(_processes(name, count, wanted))
        if wanted.mps:
            clients = open_ones.enter_context(mps())
            steps["processes, MPS"] = open_ones.enter_context(_processes(name, count, wanted, clients))
        for step in steps.values():
            step()
        rounds = [{form: step() for form, step in steps.items()} for _ in range(wanted.rounds)]
    return {form: [each[form] for each in rounds] for form in steps}


@contextmanager
def _processes(
    name: str, count: int, wanted: Settings, environment: Mapping[str, str] | None = None
) -> Iterator[Callable[[], "Taken"]]:
    """K processes, each with one replicate and its part of the GPU. environment: beside this process's."""
    from .crowd import in_a_row, timed

    steps = in_a_row(wanted.device)
    words = [sys.executable, "-m", "tests.benchmarks.crowd", name, str(count)]
    words += [str(wanted.batch), str(wanted.threads), wanted.device, wanted.precision]
    with ExitStack() as running:
        crowd = [
            running.enter_context(
                subprocess.Popen(
                    words,
                    cwd=ROOT,
                    env=os.environ | dict(environment or {}),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(count)
        ]

        def step() -> "Taken":
            return timed(lambda: _all_step(crowd) * steps, "cpu").part(steps)

        yield step
        for process in crowd:
            assert process.stdin is not None
            process.stdin.close()


def _all_step(crowd: Sequence[subprocess.Popen[str]]) -> float:
    """Returns the processor seconds of all."""
    for process in crowd:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
    return sum(float(process.stdout.readline()) for process in crowd if process.stdout is not None)


def rows(name: str, count: int, found: dict[str, list["Taken"]], wanted: Settings) -> Iterator[str]:
    """A line of the table for each form; "times" compares it with K one by one."""
    kind = "wall" if wanted.device == "cuda" else "core"
    first = next(iter(found.values()))
    for form, steps in found.items():
        wall, core = (median(getattr(step, clock) for step in steps) for clock in ("wall", "core"))
        hourly = 3600 / (median(getattr(step, kind) for step in steps) * wanted.steps) * count
        times = median(
            getattr(theirs, kind) / getattr(ours, kind) for ours, theirs in zip(steps, first, strict=True)
        )
        cells = [name, str(count), form, _milliseconds(wall), _milliseconds(core), f"{hourly:,.0f}"]
        yield "| " + " | ".join([*cells, f"{times:.2f}"]) + " |"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}" if seconds > 0.1 else f"{seconds * 1e3:.2f}"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
