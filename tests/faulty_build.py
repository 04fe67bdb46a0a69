"""`python -m datasets.build` with the readers of faulty_readers, killed by SIGKILL where a test wants it.

python tests/faulty_build.py POINT key=value ...
"""

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import faulty_readers

from datasets import build as building
from datasets import making, mtat, store
from datasets.cards import CARD_FILE
from datasets.recipe import Plan

CLIPS_PER_SHARD = 4


def plan(source: Path | None, rate_hz: int) -> Plan:
    """mtat's plan, read by faulty_readers, in small shards."""
    return replace(whole_plan(source, rate_hz), read=faulty_readers.read, clips_per_shard=CLIPS_PER_SHARD)


whole_plan, whole_written = mtat.plan, building.written_whole


def kill(*words: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_one_and_die(todo: list, means: making.Means, done: object) -> None:
    making.make_all(todo, means, kill)


def die_before_the_card(file: Path) -> object:
    return kill() if file.name == CARD_FILE else whole_written(file)


# What is replaced, by the point at which the driver is to die.
POINTS = {
    "never": (building, "WORDS", building.WORDS),
    "after the first shard": (building, "make_all", make_one_and_die),
    "before the index": (store, "write_index", kill),
    "with the index half-written": (os, "fsync", kill),
    "between index and card": (building, "written_whole", die_before_the_card),
    "before the old shards are removed": (shutil, "rmtree", kill),
}

if __name__ == "__main__":
    mtat.DATASET = replace(mtat.DATASET, plan=plan)
    setattr(*POINTS[sys.argv[1]])
    sys.exit(building.main(sys.argv[2:]))
