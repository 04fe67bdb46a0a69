"""Many files' samples as one array: mapped side by side into one range of addresses, nothing read yet.

A batch of segments from anywhere in a data set is then one gather over one array, whatever file each lies in, with
nothing done per segment.
"""

import ctypes
import mmap
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.errors import DatasetError

__all__ = ["SampleMap"]

# mmap's words in the C headers of Linux and macOS, which Python's own mmap can't say together.
PROT_READ, MAP_SHARED, MAP_FIXED = 0x1, 0x1, 0x10
MAP_FAILED = ctypes.c_void_p(-1).value
SAMPLE_BYTES = 2


class SampleMap:
    """The files as one read-only array of int16, each from the first byte of a page on.

    files:         Arrow shards.
    spare_samples: zeros that follow the last file, so that a segment may begin close to its end.
    samples:       the array, as a tensor; sample 0 of file i is at `starts[i]` (plus its place within the file).
    raises:        DatasetError if a file can't be mapped.
    """

    def __init__(self, files: Sequence[Path], spare_samples: int) -> None:
        lengths = [_pages(file.stat().st_size) for file in files]
        ends = np.cumsum([0, *lengths])
        # Reserved in one piece, as zeros that no memory stands behind; then the files are laid over it. The piece
        # takes the files along when it goes.
        self._region = mmap.mmap(-1, int(ends[-1]) + _pages(spare_samples * SAMPLE_BYTES), mmap.MAP_PRIVATE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._region))
        for file, at in zip(files, ends[:-1].tolist(), strict=True):
            _lay(file, base + at)
        self.files = list(files)
        self.starts: list[int] = (ends[:-1] // SAMPLE_BYTES).tolist()
        array = np.frombuffer(self._region, np.int16)
        self.samples: Tensor = torch.from_numpy(array)  # whoever writes to it gets a fault, and deserves it
        self._address, self._bytes = base, int(ends[-1])

    def resident_share(self, probes: int = 4096) -> float:
        """How much of the files lies in memory already, from 0 to 1, by looking at so many of their pages."""
        return _resident_share(self._address, self._bytes, probes)


def _pages(n_bytes: int) -> int:
    return -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


@cache  # a library is a class of its own to ctypes, and making one takes milliseconds
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    return libc


def _lay(file: Path, address: int) -> None:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        got = _libc().mmap(address, size, PROT_READ, MAP_SHARED | MAP_FIXED, stream.fileno(), 0)
    if got == MAP_FAILED:
        why = os.strerror(ctypes.get_errno())
        raise DatasetError(
            f"{file} can't be mapped into memory: {why}; is it on a file system that maps files?"
        )


def _resident_share(address: int, n_bytes: int, probes: int) -> float:
    if not n_bytes:
        return 1.0
    libc, present = _libc(), ctypes.c_ubyte()
    pages = n_bytes // mmap.PAGESIZE
    places = np.unique(np.linspace(0, pages - 1, min(probes, pages)).astype(np.int64))
    found = 0
    for page in places.tolist():
        if libc.mincore(address + page * mmap.PAGESIZE, 1, ctypes.byref(present)):
            return 1.0  # a system without mincore: take the plain way
        found += present.value & 1
    return found / len(places)
