"""What a search costs beside its training: of real trials and instant ones, MLflow, the sampler, the driver's memory.

    python -m tests.benchmarks.overhead

Words (key=value):
    parts=all      or some of short,long,trial,tracking,server,sampler,memory
    rounds=3       of short and long trainings: a plain loop and a search in turn
    minutes=5      of a long training; each round takes four times as long
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

from .command import Say, load, run, whole_numbers

PARTS = ("short", "long", "trial", "tracking", "server", "sampler", "memory")
LEAST = {"rounds": (1, 3), "minutes": (1, 5), "trials": (20, 100), "writers": (1, 256), "seconds": (2, 60)}


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    parts: tuple[str, ...]
    rounds: int
    minutes: int
    trials: int
    writers: int
    seconds: int


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError for what can't be."""
    given = typed.parse(words, ("parts", *LEAST))
    parts = PARTS if given.get("parts", "all") == "all" else tuple(given["parts"].split(","))
    for part in parts:
        if part not in PARTS:
            raise DatasetError(f"parts={part} is no part of this benchmark; {nearest(part, PARTS)}")
    return Settings(parts, **whole_numbers(given, LEAST))


def benchmark(wanted: Settings, say: Say) -> None:
    """Measure the parts, one after the other."""
    say(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores; load {load()} before.\n")
    for part in wanted.parts:
        _measure(part, wanted, say)
        say("")
    say(f"Load {load()} after.")


def _measure(part: str, wanted: Settings, say: Say) -> None:
    # Only what is measured is loaded: Ray, MLflow and Optuna take seconds each, and memory.
    if part in ("short", "long", "trial"):
        import search.running.placing  # noqa: F401  (before Ray itself, which reads at its import what is set in there)

        from . import instant_trials, real_trials

        if part == "trial":
            instant_trials.instant_trials(wanted.trials, say)
        elif part == "short":
            real_trials.short_trials(wanted.rounds, say)
        else:
            real_trials.long_trials(wanted.minutes, wanted.rounds, say)
    elif part in ("tracking", "server"):
        from . import reports

        (reports.tracking if part == "tracking" else reports.server)(wanted.writers, wanted.seconds, say)
    else:
        from . import long_search

        (long_search.sampler if part == "sampler" else long_search.memory)(say)


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
