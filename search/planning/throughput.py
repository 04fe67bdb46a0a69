"""How fast trainings are on each kind of machine: noted by every trial that ends, read by every plan."""

import errno
import json
import os
import re
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from datasets.home import home
from search.settings import FLOAT32

# A multiply-add of evaluation takes this much of one of training: forward only, and nothing is kept.
EVALUATION_SHARE = 0.26
ALIKE = 2.0  # networks up to so many times larger or smaller are as fast
LATEST = 20  # what a machine did lately counts; it may have been another driver or load before
MOST_SEEN = 200
MOST_BYTES = 1 << 20
RATE = "multiply_adds_per_second"


def file() -> Path:
    """The notes, a JSON record a line."""
    return home() / "throughput.jsonl"


def note(
    device: str,
    family: str,
    training: float,
    evaluation: float,
    seconds: float,
    size: int | None = None,
    precision: str = FLOAT32,
) -> None:
    """Remember one training.

    training, evaluation: forward multiply-adds. seconds: of both together, on a whole device. size: multiply-adds of a
    segment. precision: in which it was trained.
    """
    if seconds <= 0 or training <= 0:
        return
    rate = (training + EVALUATION_SHARE * evaluation) / seconds
    _write({"device": device, "family": family, RATE: rate, "size": size, "precision": precision})


def note_memory(device: str, family: str, predicted: int, peak: int, whole: int) -> None:
    """Remember what a trial took of a GPU, in bytes; see packing.Seen."""
    _write({"device": device, "family": family, "predicted": predicted, "peak": peak, "gpu": whole})


def memory(device: str) -> list[tuple[str, int, int, int]]:
    """The latest (family, predicted, peak, whole) bytes on GPUs whose name has all words of this one."""
    words = set(_words(device))
    found = [note for note in _notes(file()) if "peak" in note and words <= set(_words(note["device"]))]
    return [(note["family"], note["predicted"], note["peak"], note["gpu"]) for note in found[-MOST_SEEN:]]


def _words(device: str) -> list[str]:
    return re.split(r"[^A-Z0-9]+", device.upper())


def _write(record: dict[str, Any]) -> None:
    line = json.dumps(record) + "\n"
    # One short write at the end of the file: trials of several processes do not mix their lines.
    number = os.open(file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(number, line.encode()) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file()))
    finally:
        os.close(number)


def rate(device: str, family: str, precision: str = FLOAT32) -> tuple[float, int] | None:
    """(multiply-adds of training a second, trainings it was measured on): the family's on this kind of device.

    Where the family has not run there yet, that of the others; None if nothing has.
    """
    found = rates(device, family, precision=precision) or rates(device, precision=precision)
    return (median(found), len(found)) if found else None


def rates(
    device: str, family: str | None = None, size: int | None = None, precision: str = FLOAT32
) -> list[float]:
    """The multiply-adds a second of the latest trainings on this kind of device, in this precision.

    family: of these networks only. size: of those with about so many multiply-adds a segment only.
    """
    timed = [note for note in _notes(file()) if RATE in note and note["device"] == device]
    own = [
        note
        for note in timed
        if family in (None, note["family"]) and note.get("precision", FLOAT32) == precision
    ]
    if size is not None:
        own = [note for note in own if _alike(size, note.get("size"))]
    return [note[RATE] for note in own][-LATEST:]


def _alike(size: int, other: int | None) -> bool:
    """Whether two networks are about as large; of old notes nobody knows, so they count."""
    return not other or max(size, other) <= ALIKE * min(size, other)


@cache
def _notes(path: Path) -> list[dict[str, Any]]:
    """All that is noted; lines that are no record are passed over."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - MOST_BYTES))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return [record for line in lines if (record := _record(line)) is not None]


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        float(record[RATE] if RATE in record else record["predicted"] + record["peak"] + record["gpu"])
        return record if {"device", "family"} <= record.keys() else None
    except (ValueError, KeyError, TypeError):
        return None
