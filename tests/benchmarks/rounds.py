"""The loading benchmark itself: rounds through all ways, warm and cold, and their tables."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from datasets.progress import progress

from .clips import SEGMENT_SAMPLES, Clips, render, store_name
from .loading import Settings
from .measuring import (
    BATCH,
    SEGMENT_BYTES,
    Rate,
    StillInMemory,
    Watch,
    cold_rate,
    copy_limit,
    disk_rate,
    in_memory,
    random_jobs,
    read_all,
)
from .peers import MAPPED_NPY, OURS, PEERS, Serve

__all__ = ["benchmark", "table"]

ROOT = Path(__file__).parents[2]
MEMORY_BATCHES = 400
COPY, DISK = "copying in memory, the limit", "reading the disk from end to end, the limit"
WAYS = (*OURS, *PEERS)

Say = Callable[[str], None]
Round = Mapping[str, Rate]  # by the title of the way


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Render the clips, measure, and say the tables as they come. raises: OSError of the disk."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loading-", dir=wanted.folder) as folder:
        with progress("rendering", wanted.clips) as done:
            clips = render(Path(folder) / "clips", wanted.clips, done, wanted.samples, wanted.copies)
        say(_machine())
        _warm(clips, wanted, say)
        _cold(clips, wanted, say)
        _memory(clips, wanted.copies, say)
        say(f"\nload after: {_load()}")


def _warm(clips: Clips, wanted: Settings, say: Say) -> None:
    rounds, least = _warm_rounds(clips, wanted)
    say(f"\nWarm (never less than {least:.0%} of the files in memory); ratios are of processor seconds:\n")
    titles = [COPY, *(way.title for way in WAYS)]
    say(table(titles, rounds, "core", (MAPPED_NPY.title, "times (a)"), COPY))


def _warm_rounds(clips: Clips, wanted: Settings) -> tuple[list[Round], float]:
    """The rates, and the share of the files that was in memory when it was least."""
    files = [file for kind in sorted({way.kind for way in WAYS}) for file in clips.files(kind)]
    least = 1.0
    random = np.random.default_rng(0)
    rounds: list[Round] = []
    music = np.concatenate([np.fromfile(file, np.int16) for file in clips.files("store")])
    buffer = np.empty((min(BATCH, len(music) // SEGMENT_SAMPLES), SEGMENT_SAMPLES), np.int16)
    serving = {way.title: way.open(clips) for way in WAYS}
    with progress("warm", (1 + wanted.rounds) * len(WAYS), "measurements") as done:
        read_all(files)
        batches = {}
        for title, serve in serving.items():
            batches[title] = _batches_for(wanted.seconds, serve, clips, random)
            done(1)
        for _ in range(wanted.rounds):
            read_all(files)  # a busy machine takes pages back
            rates = {COPY: copy_limit(music, buffer, wanted.seconds)}
            for title, serve in serving.items():
                watch = Watch()
                watch.time(serve(random_jobs(clips, batches[title], random)))
                rates[title] = watch.rate
                done(1)
            rounds.append(rates)
            least = min(least, in_memory(files))
    return rounds, least


def _batches_for(seconds: float, serve: Serve, clips: Clips, random: np.random.Generator) -> int:
    """How many batches fill the time; by then all is warm."""
    batches = 1
    while True:
        watch = Watch()
        watch.time(serve(random_jobs(clips, batches, random)))
        if watch.wall > seconds / 2:
            return max(2, round(batches * seconds / watch.wall))
        batches *= 2


def _cold(clips: Clips, wanted: Settings, say: Say) -> None:
    random = np.random.default_rng(1)
    rounds: list[Round] = []
    try:
        with progress("cold", wanted.cold_rounds * len(WAYS), "measurements") as done:
            for _ in range(wanted.cold_rounds):
                rates = {DISK: disk_rate(clips.files("store"))}
                for way in WAYS:
                    rates[way.title] = cold_rate(way, clips, wanted.seconds, random)
                    done(1)
                rounds.append(rates)
    except StillInMemory as problem:
        say(f"\nCold: not measured, {problem}. Is folder= on a disk?")
        return
    best = max((way.title for way in PEERS), key=lambda title: median(rates[title].wall for rates in rounds))
    say("\nCold (every clip once, its file dropped from memory before); ratios are of time:\n")
    titles = [DISK, *(way.title for way in WAYS)]
    say(table(titles, rounds, "wall", (best, f"times {best[:3]}, the best peer"), DISK))


def table(
    titles: Sequence[str], rounds: Sequence[Round], clock: str, base: tuple[str, str], limit: str
) -> str:
    """Markdown of the medians over the rounds.

    clock: "wall" or "core", of which the ratios are taken, within each round: there the machine was equally busy.
    base:  title of the way that all are compared with, and the head of that column.
    limit: title of what can't be passed.
    """
    heads = ["way", "segments/s", "per core-second", "MB/s as int16", base[1], "of the limit"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for title in titles:
        wall = _middle(rounds, "wall", title)
        core = "" if title == DISK else f"{_middle(rounds, 'core', title):,.0f}"
        cells = [title, f"{wall:,.0f}", core, f"{wall * SEGMENT_BYTES / 1e6:,.0f}"]
        cells.append("" if title == limit else f"{_middle(rounds, clock, title, base[0]):.2f}")
        cells.append(f"{_middle(rounds, clock, title, limit):.1%}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _middle(rounds: Sequence[Round], clock: str, title: str, base: str | None = None) -> float:
    return median(
        getattr(rates[title], clock) / (getattr(rates[base], clock) if base else 1) for rates in rounds
    )


def _memory(clips: Clips, copies: int, say: Say) -> None:
    found = [_memory_of(clips.folder / store_name(count)) for count in (1, copies)]
    say(
        f"\nMemory of the serving process, {MEMORY_BATCHES} batches; {copies} times the data are hard links:\n"
    )
    say("| segments | own memory before it opens the data | while it serves | with the mapped files |")
    say("| ---: | ---: | ---: | ---: |")
    for one in found:
        cells = " | ".join(f"{one[key] / 1e6:,.1f} MB" for key in ("before", "own", "all"))
        say(f"| {one['segments']:,} | {cells} |")


def _memory_of(folder: Path) -> dict[str, int]:
    words = [sys.executable, "-m", "tests.benchmarks.memory", str(folder), str(MEMORY_BATCHES)]
    answer = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout)


def _machine() -> str:
    model = platform.processor() or "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores of {model}; torch {torch.__version__}; load before: {_load()}"


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
