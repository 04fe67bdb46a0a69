"""Segments read from their files at their places, for music that isn't in memory yet.

A page fault reads a little and waits; a segment that is asked for as a whole comes as fast as the disk can.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

__all__ = ["read_segments"]

AT_ONCE = 8  # requests that a disk gets to order among themselves
MOST_OPEN = 256  # files; the usual limit of a process is 1,024
SAMPLE_BYTES = 2


class _File:
    """An open file; closed when nobody holds it any more, also not a thread that is reading from it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):  # reading ahead of a segment reads what nobody asked for
            os.posix_fadvise(self.number, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self) -> None:
        os.close(self.number)


_opened = lru_cache(maxsize=MOST_OPEN)(_File)


@lru_cache(maxsize=1)
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "read")


def read_segments(files: Sequence[Path], starts: np.ndarray, out: np.ndarray) -> None:
    """Fill each row of `out` with samples from a file.

    files:  of each row.
    starts: of each row, in samples from the beginning of its file.
    out:    (rows, samples) int16. What lies behind the end of a file is left as it is.
    raises: OSError as the system says.
    """
    jobs = zip(files, starts.tolist(), out, strict=True)
    for _ in _readers().map(_read, *zip(*jobs, strict=True)):
        pass


def _read(path: Path, start: int, row: np.ndarray) -> None:
    file, view, done = _opened(path), row.view(np.uint8).data, 0
    while done < len(view):
        got = os.preadv(file.number, [view[done:]], start * SAMPLE_BYTES + done)
        if not got:
            return
        done += got
