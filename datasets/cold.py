"""Segments read from their files at their places, for music that isn't in memory yet.

A page fault reads a little and waits; a segment that is asked for as a whole comes as fast as the disk can.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

__all__ = ["read_segments"]

MOST_OPEN = 256  # files; the usual limit of a process is 1,024
SAMPLE_BYTES = 2
CAN_ADVISE = hasattr(os, "posix_fadvise")


class _File:
    """An open file; closed when nobody holds it any more, also not a thread that is reading from it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)
        if CAN_ADVISE:  # reading ahead of a segment reads what nobody asked for
            os.posix_fadvise(self.number, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self) -> None:
        os.close(self.number)


_opened = lru_cache(maxsize=MOST_OPEN)(_File)


def read_segments(files: Sequence[Path], starts: np.ndarray, out: np.ndarray) -> None:
    """Fill each row of `out` with samples from a file.

    files:  of each row.
    starts: of each row, in samples from the beginning of its file.
    out:    (rows, samples) int16. What lies behind the end of a file is left as it is.
    raises: OSError as the system says.
    """
    places = list(zip(map(_opened, files), (starts * SAMPLE_BYTES).tolist(), strict=True))
    if CAN_ADVISE:
        # All are asked for at once, for the disk to order among themselves, and then taken one by one: half the
        # processor time of as many threads that each wait for one.
        for file, at_byte in places:
            os.posix_fadvise(file.number, at_byte, out.shape[1] * SAMPLE_BYTES, os.POSIX_FADV_WILLNEED)
    for (file, at_byte), row in zip(places, out, strict=True):
        _read(file, at_byte, row)


def _read(file: _File, at_byte: int, row: np.ndarray) -> None:
    view, done = row.view(np.uint8).data, 0
    while done < len(view):
        got = os.preadv(file.number, [view[done:]], at_byte + done)
        if not got:
            return
        done += got
