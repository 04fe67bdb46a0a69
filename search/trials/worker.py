"""What a process does once before it trains: its memory, its threads."""

import ctypes
import ctypes.util
from typing import Any

import torch

from search.planning.packing import allocator_share

# mallopt's names in glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
HELD_BYTES = 256 << 20


def prepare(threads: int, gpus: float = 0.0) -> None:
    """Settings of this process for the next trial, with so many threads, and so many GPUs or such a part of one."""
    torch.set_num_threads(threads)
    if gpus and torch.cuda.is_available():
        share_gpu(min(gpus, 1.0))
    # Numbers below 1e-38 take a processor many times longer than others, and are nothing to a weight: with them a
    # training by Adam took six times as long.
    torch.set_flush_denormal(True)
    keep_blocks()


def share_gpu(part: float) -> None:
    """Hold this process to its part of the GPU's memory, and count anew how much it takes."""
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(allocator_share(part, whole) if part < 1 else 1.0)
    torch.cuda.reset_peak_memory_stats()


def gpu_use(music_bytes: int) -> dict[str, Any]:
    """What the trial took of its GPU so far, but for the music that was put there; see packing.Seen."""
    about = torch.cuda.get_device_properties(0)
    peak = max(torch.cuda.max_memory_reserved() - music_bytes, 0)
    return {"device": about.name, "gpu_bytes": about.total_memory, "peak_bytes": peak}


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
