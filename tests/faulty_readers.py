"""Readers that fail as decoders do, by the name of the clip's file; worker processes import this file."""

import os
import signal
import threading
from pathlib import Path

import numpy as np

from datasets.audio import decode
from datasets.errors import AudioError
from datasets.recipe import PlannedClip


def read(source: str, clip: PlannedClip, rate_hz: int, max_seconds: float) -> np.ndarray:
    """Decode, or do what the file is called."""
    what = FAULTS.get(Path(clip.path).stem.split("-")[0])
    if what is not None:
        return what(source)
    return decode(Path(source) / clip.path, rate_hz, max_seconds)


def hang(source: str) -> np.ndarray:
    threading.Event().wait()
    raise AssertionError("woken")


def segfault(source: str) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("still alive")


def abort(source: str) -> np.ndarray:
    os.abort()


def killed(source: str) -> np.ndarray:
    """As by a machine that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def killed_once(source: str) -> np.ndarray:
    """Killed from outside at the first try; fine ever after."""
    note = Path(source) / "was-killed"
    if not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.zeros(1_000, np.float32)


def crash_once(source: str) -> np.ndarray:
    """A crash that was not the clip's fault, since it does not happen again."""
    note = Path(source) / "has-crashed"
    if not note.exists():
        note.touch()
        os.abort()
    return np.zeros(1_000, np.float32)


def eat(source: str) -> np.ndarray:
    """Take memory until there is none, touching little of it."""
    eaten = [np.empty(2**26, np.uint8) for _ in range(2**14)]
    raise AssertionError(f"{len(eaten)} pieces were there to be had")


def odd(source: str) -> np.ndarray:
    """An error whose words are others each time."""
    raise ZeroDivisionError(f"at {id(object())} in {os.getpid()}")


def recurse(source: str) -> np.ndarray:
    return recurse(source)


def system_exit(source: str) -> np.ndarray:
    raise SystemExit(3)


def input_output(source: str) -> np.ndarray:
    raise OSError(5, "Input/output error")


def no_numbers(source: str) -> np.ndarray:
    return np.array([0.0, np.nan, 0.0], np.float32)


def nothing(source: str) -> np.ndarray:
    return np.zeros(0, np.float32)


def doubles(source: str) -> np.ndarray:
    return np.zeros(1_000)


def gone(source: str) -> np.ndarray:
    """The disk with the music is pulled out."""
    Path(source).rename(f"{source}-unplugged")
    raise AudioError("gone.mp3", "missing", "there is no such file")


def full(source: str) -> np.ndarray:
    raise OSError(28, "No space left on device")


FAULTS = {
    "hang": hang,
    "segfault": segfault,
    "abort": abort,
    "killed": killed,
    "killed_once": killed_once,
    "crash_once": crash_once,
    "eat": eat,
    "odd": odd,
    "recurse": recurse,
    "system_exit": system_exit,
    "input_output": input_output,
    "no_numbers": no_numbers,
    "nothing": nothing,
    "doubles": doubles,
    "gone": gone,
    "full": full,
}
