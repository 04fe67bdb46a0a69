"""One process's attempt at a trial, so that an epoch that never ends is ended, and a loss can be told from another.

attempt        there while a process is at the trial, and after it was lost
hang.txt       where every thread of it stood when an epoch took too long
"""

import faulthandler
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.checks import AUTO
from search.failures import HANG, HOST_MEMORY, LOST, LOST_TRIES, Kind

ATTEMPT, STACKS = "attempt", "hang.txt"
BOOT, VMSTAT = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/vmstat")
# An epoch is taken to hang when it lasts so many times as long as the longest one before it; as the first guess of
# an epoch is rough (another machine, cold data), the first one is given more.
PATIENCE, FIRST_PATIENCE, LEAST_SECONDS = 10.0, 60.0, 600.0

# What is said of a trial whose process was lost too often, by what is known of the last loss.
WORDS = {
    LOST.name: "its process or node was lost {times} times (killed, or the machine ran out of memory)",
    HOST_MEMORY.name: "its process was lost {times} times, lastly as the kernel ended processes for want of memory; "
    "lower cluster.trials_at_once or budget.batch_size",
    HANG.name: "its process was lost {times} times, lastly as an epoch took longer than cluster.epoch_minutes allows; "
    "where it stood is in {folder}/hang.txt",
}


@dataclass(frozen=True)
class Limit:
    """How long an epoch may take. minutes: "auto", or what the words say. guess_seconds: of an epoch."""

    minutes: float | str
    guess_seconds: float

    def seconds(self, epochs: Sequence[float]) -> float:
        """epochs: what those before took."""
        if self.minutes != AUTO:
            return float(self.minutes) * 60
        known = PATIENCE * max(epochs) if epochs else FIRST_PATIENCE * self.guess_seconds
        return max(known, LEAST_SECONDS)


class Attempt:
    """From the moment a process has the trial's folder until it lets go of it, whatever comes between.

    beside:  the folders of the trials that the process trains together with this one.
    earlier: why the process before it was lost, if it was.
    """

    def __init__(self, folder: Path, limit: Limit, beside: Sequence[Path] = ()) -> None:
        self.limit, self._file = limit, folder / ATTEMPT
        self.earlier = cause(folder)
        self._stacks = (folder / STACKS).open("ab")
        about = {
            **_machine(),
            "stack_bytes": self._stacks.tell(),
            "earlier": self.earlier and self.earlier.name,
            "beside": [str(other) for other in beside],
        }
        self._file.write_text(json.dumps(about), encoding="utf-8")

    def begin(self, epochs: Sequence[float], others_seconds: float = 0.0) -> None:
        """An epoch begins. If it is not over in time, this process ends, without asking any thread of it.

        others_seconds: what is given to the epochs of trials beside it.
        """
        seconds = self.limit.seconds(epochs) + others_seconds
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stacks)

    def rest(self) -> None:
        """The epoch is over."""
        faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """The process has let go of the trial by itself."""
        self.rest()
        empty = not self._stacks.tell()
        self._stacks.close()
        if empty:
            Path(self._stacks.name).unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)


def cause(folder: Path) -> Kind | None:
    """Why the last process at a trial was lost, as far as this machine can tell; None if none was.

    A node that is gone with its memory full is told from others only by what its own processes found before.
    """
    about = _read(folder / ATTEMPT)
    if about is None:
        return None
    if _hung(folder):
        return HANG
    here = _machine()
    known = about["memory_kills"] is not None and here["memory_kills"] is not None
    if known and about["boot"] == here["boot"] and here["memory_kills"] > about["memory_kills"]:
        return HOST_MEMORY
    return HOST_MEMORY if about["earlier"] == HOST_MEMORY.name and about["boot"] != here["boot"] else LOST


def loss(folder: Path) -> dict[str, str]:
    """What is said of a trial whose process was lost once too often: the kind, and one line."""
    kind = cause(folder) or LOST
    where = _hung(folder) or folder
    return {"kind": kind.name, "why": WORDS[kind.name].format(times=LOST_TRIES + 1, folder=where)}


def _hung(folder: Path) -> Path | None:
    """The folder with the stacks of the process at this trial, if they were written: its own, or one beside it."""
    beside = (_read(folder / ATTEMPT) or {}).get("beside", [])
    for each in (folder, *map(Path, beside)):
        about, stacks = _read(each / ATTEMPT), each / STACKS
        if about is not None and stacks.is_file() and stacks.stat().st_size > about["stack_bytes"]:
            return each
    return None


def _machine() -> dict[str, Any]:
    """Which machine this is since when it runs, and how many processes its kernel has ended for want of memory."""
    try:
        counts = dict(line.split() for line in VMSTAT.read_text("ascii").splitlines())
        return {"boot": BOOT.read_text("ascii").strip(), "memory_kills": int(counts["oom_kill"])}
    except (OSError, ValueError, KeyError):  # another system, or an older kernel
        return {"boot": "", "memory_kills": None}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError):  # nobody's, or of a process that ended as it wrote
        return None
