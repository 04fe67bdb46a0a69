"""What a process does once before it trains: its memory, its threads."""

import ctypes
import ctypes.util

import torch

# mallopt's names in glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
HELD_BYTES = 256 << 20


def prepare(threads: int) -> None:
    """Settings of this process for training on the CPU with so many threads."""
    torch.set_num_threads(threads)
    # Numbers below 1e-38 take a processor many times longer than others, and are nothing to a weight: with them a
    # training by Adam took six times as long.
    torch.set_flush_denormal(True)
    keep_blocks()


def keep_blocks() -> None:
    """Tell glibc's allocator to keep large blocks for the next step instead of giving them back to the kernel.

    Each activation of a network is tens of megabytes; by default every one is mapped, zeroed page by page and
    unmapped again at every step, which is a third of a step's time. Does nothing where the C library has no mallopt.
    """
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**31 - 1)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, HELD_BYTES)
