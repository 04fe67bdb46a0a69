"""How fast music is made ready for training, beside the ways that others take, on the same files in one run.

    python -m tests.benchmarks.building

Words (key=value):
    source=FOLDER  mp3 to build from; default: mtat-mini below WAVEZOO_TEST_DATA
    clips=64       how many of them, the first in the order of their names
    rounds=5       of which the medians are taken; each goes through all ways in turn
    folder=FOLDER  where the results are written for the while (default: the temporary one)

Prints Markdown: clips per second, and per second of processor time. Every way writes what training then reads:
mono, 22,050 Hz, the first 29.1 seconds. Ours is a whole shard: decoded, counted, written, synced to the disk and
read again for its checksum, in a worker process as a build starts them.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import words as typed
from datasets.errors import DatasetError

from .command import run


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    files: tuple[Path, ...]
    rounds: int
    folder: str | None


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError for what can't be."""
    given = typed.parse(words, ("source", "clips", "rounds", "folder"))
    source = given.get("source") or os.environ.get("WAVEZOO_TEST_DATA")
    if not source:
        raise DatasetError("which music? write source=FOLDER with mp3 in it, or set WAVEZOO_TEST_DATA")
    try:
        clips, rounds = int(given.get("clips", 64)), int(given.get("rounds", 5))
    except ValueError as problem:
        raise DatasetError(f"clips= and rounds= are whole numbers: {problem}") from None
    if clips < 1 or rounds < 1:
        raise DatasetError(f"clips={clips}, rounds={rounds}: give at least 1 of each")
    found = sorted(file for file in Path(source).expanduser().rglob("*.mp3") if file.stat().st_size)
    if len(found) < clips:
        raise DatasetError(f"{source} has {len(found)} mp3 with something in them, clips={clips} are wanted")
    return Settings(tuple(found[:clips]), rounds, given.get("folder"))


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(
        words, __doc__ or "", _measure, "give folder= on a disk with room, the same command begins again"
    )


def _measure(words: Sequence[str]) -> None:
    wanted = settings(words)
    from .builders import benchmark

    benchmark(wanted.files, wanted.rounds, wanted.folder, ["tests.benchmarks.building", *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
