"""How fast a step of training is on the processor, beside plain PyTorch in its default environment, in one run.

    python -m tests.benchmarks.step

Words (key=value):
    networks=A,B   by name (default: one of every kind)
    batch=6        segments of a step; the paper's is 23, which takes up to 3 GB for each of the two processes
    rounds=5       of which the medians are taken, after one to get warm; both forms take a step in turn
    threads=1      of each form

Prints Markdown: wall and processor seconds, the most memory, operations per processor second and how much of a matrix
product's rate that is. Ratios are medians of the ratios of processor seconds within a round.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import zoo
from datasets import words as typed
from datasets.errors import DatasetError

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

Say = Callable[[str], None]


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
    numbers = {}
    for key in ("batch", "rounds", "threads"):
        try:
            numbers[key] = int(given.get(key, getattr(Settings, key)))
        except ValueError:
            raise DatasetError(f"{key}={given[key]} is no whole number") from None
    if numbers["batch"] < 2 or numbers["rounds"] < 1 or numbers["threads"] < 1:
        raise DatasetError("give at least batch=2, rounds=1 and threads=1")
    names = tuple(given["networks"].split(",")) if "networks" in given else KINDS
    return Settings(tuple(zoo.entry(name).name for name in names), **numbers)


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure network after network, and say the table as it grows."""
    from .stepping import FORMS, operations, product_rate

    bound = product_rate(wanted.threads)
    say(
        f"batch {wanted.batch}, {wanted.threads} threads, product {bound / 1e9:.0f} GFLOP/s, load {_load()}\n"
    )
    say(f"| {' | '.join(HEADS)} |\n| --- | --- |{' ---: |' * (len(HEADS) - 2)}")
    for name in wanted.networks:
        found = dict(zip(FORMS, measured(name, wanted, FORMS), strict=True))
        for line in rows(name, found, operations(name) * wanted.batch, bound):
            say(line)
    say(f"\nload after: {_load()}")


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
            print(file=process.stdin, flush=True)
            return Taken(**json.loads(process.stdout.readline()))

        yield step
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
            f"{median(step.wall for step in steps):.2f}",
            f"{core:.2f}",
            f"{peak / 1e6:,.0f}",
        ]
        cells += [f"{operations / core / 1e9:.1f}", f"{operations / core / bound:.0%}"]
        yield "| " + " | ".join([*cells, f"{times:.2f}", f"{memory:.2f}"]) + " |"


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def main(words: list[str]) -> int:
    """Command line; returns the exit code: 0 measured, 2 refused with one line, 130 interrupted."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    try:
        benchmark(settings(words), lambda line: print(line, flush=True))
    except (DatasetError, zoo.ZooError) as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is kept, the same command begins again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
