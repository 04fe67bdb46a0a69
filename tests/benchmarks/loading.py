"""How fast segments are loaded, beside the ways that others take, on the same clips in one run.

    python -m tests.benchmarks.loading

Words (key=value):
    clips=400      clips of 29.1 s at 22,050 Hz; 6.5 MB of disk each, gone at the end
    seconds=0.5    time that each way gets in each round; the rounds go through all ways in turn
    rounds=15      of which the medians are taken; the cold ones are a third as many
    folder=FOLDER  where the clips are written for the while: what disk is measured (default: the temporary one)

Prints Markdown: segments served per second and per second of processor time, warm and from a cold page cache,
beside the copying limit of the memory and the sequential rate of the disk; then the memory of a serving process.
Batches of 23 segments of 59,049 samples from random places of random clips; one process, one torch thread.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from datasets import words as typed
from datasets.errors import DatasetError

from .command import run

FEWEST_CLIPS = 4


@dataclass(frozen=True)
class Settings:
    """What the words say. samples: of each clip. copies: by how much the large store is larger."""

    clips: int = 400
    seconds: float = 0.5
    rounds: int = 15
    folder: str | None = None
    samples: int = 641_655
    copies: int = 20

    @property
    def cold_rounds(self) -> int:
        """A cold round takes longer than its time: files are dropped and opened again and again."""
        return max(1, self.rounds // 3)


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError for what can't be."""
    given = typed.parse(words, ("clips", "seconds", "rounds", "folder"))
    try:
        found = Settings(
            int(given.get("clips", Settings.clips)),
            float(given.get("seconds", Settings.seconds)),
            int(given.get("rounds", Settings.rounds)),
            given.get("folder"),
        )
    except ValueError as problem:
        raise DatasetError(f"clips= and rounds= are whole numbers, seconds= a number: {problem}") from None
    if found.clips < FEWEST_CLIPS or not 0 < found.seconds < float("inf") or found.rounds < 1:
        raise DatasetError(f"give at least clips={FEWEST_CLIPS}, rounds=1, and seconds= above 0")
    return found


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(
        words, __doc__ or "", _measure, "give folder= on a disk with room, the same command begins again"
    )


def _measure(words: Sequence[str]) -> None:
    wanted = settings(words)
    from .rounds import benchmark

    benchmark(wanted, partial(print, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
