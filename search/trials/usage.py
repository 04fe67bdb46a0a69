"""What a worker's process uses of its machine while it trains, noted after each epoch for whoever looks on."""

import contextlib
import json
import os
import resource
import socket
import time
from pathlib import Path
from typing import Any

from search import files

FILE = "system.jsonl"
CPU = "system/cpu_utilization_percentage"  # which every note has
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Takes notes beside the epochs of trials. MLflow shows what starts with `system/` on a page of its own."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self._taken: dict[str, Any] = {}
        self._noted: set[str] = set()  # whose epochs have ended since that was taken

    def note(self, signature: str, epoch: int) -> None:
        """Write down what the epoch that has just ended took: the same for all trials whose epochs end together.

        A disk that takes no more notes stops no training.
        """
        if not self._taken or signature in self._noted:
            self._take()
        self._noted.add(signature)
        row = {"epoch": epoch, **self._taken}
        with contextlib.suppress(OSError), (files.trial_folder(signature) / FILE).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _take(self) -> None:
        wall, cpu = time.monotonic(), _cpu_seconds()
        self._taken = {
            "host": socket.gethostname(),
            CPU: round(100 * (cpu - self._cpu) / max(wall - self._wall, 1e-9), 1),
            "system/process_memory_megabytes": round(_memory_bytes() / 1e6, 1),
            **_gpu(),
        }
        self._wall, self._cpu = wall, cpu
        self._noted.clear()


def read(signature: str) -> list[dict[str, Any]]:
    """The notes of a trial so far, one an epoch; a line that a kill left half-written is left out."""
    try:
        lines = (files.trial_folder(signature) / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            found[row["epoch"]] = row
    return list(found.values())


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory_bytes() -> int:
    """Of this process, as it is now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:  # no Linux: the most that it ever had
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu() -> dict[str, float]:
    import torch

    if not torch.cuda.is_initialized():
        return {}
    megabytes = torch.cuda.max_memory_allocated() / 1e6
    torch.cuda.reset_peak_memory_stats()
    return {"system/gpu_memory_usage_megabytes": round(megabytes, 1)}
