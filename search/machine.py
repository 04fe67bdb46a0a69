"""What this machine offers to a search, asked without importing torch or Ray."""

import os
from pathlib import Path


def local_gpus() -> int:
    """How many NVIDIA GPUs programs on this machine may use (CUDA_VISIBLE_DEVICES counts)."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    return min(present, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))


def local_cpus() -> int:
    """How many cores this process may run on: a container or taskset can allow fewer than there are."""
    return len(os.sched_getaffinity(0))
