"""How fast a step of training is on the processor, beside plain PyTorch in its default environment, in one run.

    python -m tests.benchmarks.step

Words (key=value):
    networks=A,B   by name (default: one of every kind)
    batch=6        segments of a step; the paper's is 23, which takes up to 3 GB for each of the four processes
    rounds=5       of which the medians are taken, after one to get warm; all forms take a step in turn, or a quarter
                   of a second of small ones
    threads=1      of each form

Prints Markdown: wall and processor seconds, the most memory, operations per processor second and how much of a matrix
product's rate that is. Ratios are medians of the ratios of processor seconds within a round.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from datasets import words as typed
from datasets.errors import DatasetError

from .command import Say, load, names, run, whole_numbers

if TYPE_CHECKING:
    from .stepping import Taken

ROOT = Path(__file__).parents[2]
KINDS = (
    "samplecnn_m3_n9_s3",
    "samplecnn_m2_n14_s2",
    "samplecnn_m5_n6_s5",
    "samplecnn_m3_n4_s729",
    "melcnn_m3_n6_s81_w243",
    "crnn",
    "samplecnn_rese2_multi",
)
HEADS = ("network", "form", "wall s", "core s", "peak MB", "GFLOP/s", "of the product", "times", "memory")


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...] = KINDS
    batch: int = 6
    rounds: int = 5
    threads: int = 1


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    given = typed.parse(words, ("networks", "batch", "rounds", "threads"))
    numbers = whole_numbers(given, {"batch": (2, 6), "rounds": (1, 5), "threads": (1, 1)})
    return Settings(names(given, KINDS), **numbers)


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure network after network, and say the table as it grows."""
    from .stepping import FORMS, operations, product_rate

    bound = product_rate(wanted.threads)
    say(f"batch {wanted.batch}, {wanted.threads} threads, product {bound / 1e9:.0f} GFLOP/s, load {load()}\n")
    say(f"| {' | '.join(HEADS)} |\n| --- | --- |{' ---: |' * (len(HEADS) - 2)}")
    for name in wanted.networks:
        found = dict(zip(FORMS, measured(name, wanted, FORMS), strict=True))
        for line in rows(name, found, operations(name) * wanted.batch, bound):
            say(line)
    say(f"\nload after: {load()}")


def measured(name: str, wanted: Settings, forms: Sequence[str]) -> list[list["Taken"]]:
    """The steps of each form, taken in turn."""
    with ExitStack() as open_ones:
        steppers = [open_ones.enter_context(_stepper(form, name, wanted)) for form in forms]
        for step in steppers:
            step()  # the first one fills the allocator, and chooses algorithms
        rounds = [[step() for step in steppers] for _ in range(wanted.rounds)]
    return [list(steps) for steps in zip(*rounds, strict=True)]


@contextmanager
def _stepper(form: str, name: str, wanted: Settings) -> Iterator[Callable[[], "Taken"]]:
    from .stepping import Taken

    words = [sys.executable, "-m", "tests.benchmarks.stepping", form, name]
    words += [str(wanted.batch), str(wanted.threads)]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def step() -> Taken:
            with suppress(BrokenPipeError):
                print(file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise DatasetError(
                    f"{name}, {form}: its process has ended with {process.wait()}, for want of memory where that is "
                    f"-9; batch={wanted.batch} may be too many for this machine, give fewer"
                )
            return Taken(**json.loads(answer))

        try:
            yield step
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


def rows(name: str, found: dict[str, list["Taken"]], operations: float, bound: float) -> Iterator[str]:
    """A line of the table for each form; "times" and "memory" compare it with the plain one."""
    plain = found["plain"]
    for form, steps in found.items():
        core, peak = median(step.core for step in steps), max(step.peak_bytes for step in steps)
        times = median(theirs.core / ours.core for ours, theirs in zip(steps, plain, strict=True))
        memory = peak / max(step.peak_bytes for step in plain)
        cells = [
            name,
            form,
            _seconds(median(step.wall for step in steps)),
            _seconds(core),
            f"{peak / 1e6:,.0f}",
        ]
        cells += [f"{operations / core / 1e9:.1f}", f"{operations / core / bound:.0%}"]
        yield "| " + " | ".join([*cells, f"{times:.2f}", f"{memory:.2f}"]) + " |"


def _seconds(taken: float) -> str:
    return f"{taken:#.3g}"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
