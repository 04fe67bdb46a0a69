"""Rates, limits and what lies in memory: the instruments of the loading benchmark."""

import ctypes
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from .clips import SEGMENT_SAMPLES, Clips
from .peers import Job, Way, worker_pids

BATCH = 23
SEGMENT_BYTES = SEGMENT_SAMPLES * 2
READ_BYTES = 8 << 20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Rate:
    """Segments per second that passed, and per second that processors worked for it (workers' included)."""

    wall: float
    core: float


class Watch:
    """Counts segments against both clocks, over the parts of a measurement that count."""

    def __init__(self) -> None:
        self.segments, self.wall, self.core = 0, 0.0, 0.0

    def time(self, batches: Iterable[Tensor | np.ndarray]) -> None:
        """Take all batches."""
        wall, core = time.perf_counter(), _core_seconds()
        for batch in batches:
            self.segments += len(batch)
        self.wall += time.perf_counter() - wall
        self.core += _core_seconds() - core

    @property
    def rate(self) -> Rate:
        """Of everything timed so far."""
        return Rate(self.segments / self.wall, self.segments / max(self.core, 1 / TICKS))


def _core_seconds() -> float:
    """Of this process with all its threads, and of its workers that are still there."""
    seconds = time.process_time()
    for pid in worker_pids():
        # utime and stime, fields 14 and 15; the name before them may hold anything but ends in the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def random_jobs(clips: Clips, batches: int, random: np.random.Generator) -> list[Job]:
    """Any clip, any place in it."""
    room = clips.samples - SEGMENT_SAMPLES
    return [
        (random.integers(0, clips.count, BATCH), random.integers(0, room, BATCH, endpoint=True))
        for _ in range(batches)
    ]


def jobs_once(clips: Clips, random: np.random.Generator) -> list[Job]:
    """A segment from any place of every clip but the left-over: no clip twice, so that none is in memory."""
    size = min(BATCH, clips.count)
    order = random.permutation(clips.count)[: clips.count // size * size].reshape(-1, size)
    starts = random.integers(0, clips.samples - SEGMENT_SAMPLES, order.shape, endpoint=True)
    return list(zip(order, starts, strict=True))


def copy_limit(music: np.ndarray, buffer: np.ndarray, seconds: float) -> Rate:
    """Batches that lie in one piece in memory, one after the other through all the music, into one buffer."""
    watch = Watch()
    while watch.wall < seconds:
        watch.time(_copies(music, buffer))
    return watch.rate


def _copies(music: np.ndarray, buffer: np.ndarray) -> Iterator[np.ndarray]:
    flat = buffer.reshape(-1)
    for batch in music[: len(music) // flat.size * flat.size].reshape(-1, flat.size):
        np.copyto(flat, batch)
        yield buffer


def cold_rate(way: Way, clips: Clips, seconds: float, random: np.random.Generator) -> Rate:
    """Every clip entered once after its file was dropped from memory, again and again until the time is up.

    raises: StillInMemory where files can't be dropped.
    """
    watch = Watch()
    while watch.wall < seconds:
        serve, jobs = way.open(clips), jobs_once(clips, random)
        drop(clips.files(way.kind))
        watch.time(serve(jobs))
        del serve
    return watch.rate


def disk_rate(files: Sequence[Path]) -> Rate:
    """The files read from beginning to end, one after the other, as segments."""
    drop(files)
    buffer, n_bytes, begun = bytearray(READ_BYTES), 0, time.perf_counter()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while got := stream.readinto(buffer):
                n_bytes += got
    segments = n_bytes / SEGMENT_BYTES
    return Rate(segments / (time.perf_counter() - begun), float("nan"))


class StillInMemory(Exception):
    """Files that were to be dropped from the page cache are still in it."""


# Of the files' pages; those with their headers may be mapped by whoever has opened them.
MAY_STAY = 0.02


def drop(files: Sequence[Path]) -> None:
    """Take the files out of the page cache. raises: StillInMemory if the system did not."""
    for file in files:
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    share = in_memory(files)
    if share > MAY_STAY:
        raise StillInMemory(f"{share:.0%} of the files stay in memory when they are to be dropped")


def in_memory(files: Sequence[Path]) -> float:
    """Share of the files' pages that lie in the page cache, by mincore over all of them."""
    found = pages = 0
    for file in files:
        present = _pages_present(file)
        found, pages = found + int(present.sum()), pages + len(present)
    return found / max(1, pages)


def _pages_present(file: Path) -> np.ndarray:
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    size = file.stat().st_size
    # Private, and writable because only then does ctypes tell the address; nothing is written.
    with (
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped,
    ):
        present = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        start = ctypes.c_char.from_buffer(mapped)
        failed = mincore(ctypes.addressof(start), size, present.ctypes.data)
        del start
    if failed:
        raise OSError(ctypes.get_errno(), "mincore", str(file))
    return present & 1


def read_all(files: Sequence[Path]) -> None:
    """Bring the files into the page cache."""
    buffer = bytearray(READ_BYTES)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
