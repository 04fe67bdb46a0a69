"""What this machine offers to a search, asked without importing torch or Ray."""

import os
import platform
from pathlib import Path


def local_gpus() -> int:
    """How many NVIDIA GPUs programs on this machine may use (CUDA_VISIBLE_DEVICES counts)."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    return min(present, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))


def local_device() -> str:
    """What kind of device a trial of this machine trains on: the GPU's name, or the processor's."""
    if local_gpus():
        facts = next(Path("/proc/driver/nvidia/gpus").glob("*/information"), None)
        return _value(facts, "Model") or "an NVIDIA GPU"
    return device_kind("cpu")


def device_kind(device: str) -> str:
    """What kind of device torch means by "cpu" or "cuda" here: the processor's name, or the GPU's."""
    if device.startswith("cpu"):
        return _value(Path("/proc/cpuinfo"), "model name") or platform.processor() or "an unknown processor"
    import torch

    return str(torch.cuda.get_device_name(device))


def has_bf16() -> bool:
    """Whether the processors of this machine have instructions for numbers of eight binary digits."""
    return "avx512_bf16" in _value(Path("/proc/cpuinfo"), "flags").split()


def _value(file: Path | None, key: str) -> str:
    """The first value of that key in a file of `key: value` lines; empty where there is none."""
    if file is None or not file.is_file():
        return ""
    pairs = (line.partition(":") for line in file.read_text("utf-8", "replace").splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def local_cpus() -> int:
    """How many cores this process may run on: a container or taskset can allow fewer than there are."""
    return len(os.sched_getaffinity(0))


def local_memory_bytes() -> int:
    """The memory of this machine, or of the container that this process runs in where that has less."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(whole, int(text)) if text.isdigit() else whole
