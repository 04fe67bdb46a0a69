"""What a search costs beside its training: an instant trial, MLflow, the sampler, the driver's memory.

    python -m tests.benchmarks.overhead

Words (key=value):
    parts=all      or some of trial,tracking,server,sampler,memory
    trials=100     instant trials through Ray Tune; Tune as it comes gets a tenth, with reused actors a half
    writers=256    simulated trials that report to an MLflow server at once
    seconds=60     for which each of them reports once a second

Prints Markdown, a table for each part. Everything lies in temporary folders, all addresses are on 127.0.0.1.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from datasets import words as typed
from datasets.errors import DatasetError, nearest

from .command import Say, run

PARTS = ("trial", "tracking", "server", "sampler", "memory")
FEWEST_TRIALS = 20


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    parts: tuple[str, ...] = PARTS
    trials: int = 100
    writers: int = 256
    seconds: int = 60


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError for what can't be."""
    given = typed.parse(words, ("parts", "trials", "writers", "seconds"))
    parts = PARTS if given.get("parts", "all") == "all" else tuple(given["parts"].split(","))
    for part in parts:
        if part not in PARTS:
            raise DatasetError(f"parts={part} is no part of this benchmark; {nearest(part, PARTS)}")
    try:
        numbers = {key: int(given[key]) for key in ("trials", "writers", "seconds") if key in given}
    except ValueError as problem:
        raise DatasetError(f"trials=, writers= and seconds= are whole numbers: {problem}") from None
    found = Settings(parts, **numbers)
    if found.trials < FEWEST_TRIALS or found.writers < 1 or found.seconds < 2:
        raise DatasetError(f"give at least trials={FEWEST_TRIALS}, writers=1 and seconds=2")
    return found


def benchmark(wanted: Settings, say: Say) -> None:
    """Measure the parts, one after the other."""
    say(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores; load {_load()} before.\n")
    for part in wanted.parts:
        _measure(part, wanted, say)
        say("")
    say(f"Load {_load()} after.")


def _measure(part: str, wanted: Settings, say: Say) -> None:
    # Only what is measured is loaded: Ray, MLflow and Optuna take seconds each, and memory.
    if part == "trial":
        import search.running.placing  # noqa: F401  (before Ray itself, which reads at its import what is set in there)

        from .instant_trials import instant_trials

        instant_trials(wanted.trials, say)
    elif part in ("tracking", "server"):
        from . import reports

        (reports.tracking if part == "tracking" else reports.server)(wanted.writers, wanted.seconds, say)
    else:
        from . import long_search

        (long_search.sampler if part == "sampler" else long_search.memory)(say)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
