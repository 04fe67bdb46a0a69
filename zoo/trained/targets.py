"""What a command is to write, judged before it loads or computes anything."""

import os
from pathlib import Path

from zoo.errors import ZooError, did_you_mean

__all__ = ["ENDINGS", "check_folder", "check_target"]

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}


def check_target(out: str | Path, format: str) -> Path:
    """The file to write. Raises ZooError if there is no such format, or no such file can be written."""
    if format not in ENDINGS:
        raise ZooError(f"format={format} is not one of {', '.join(ENDINGS)}{did_you_mean(format, ENDINGS)}")
    file = Path(out)
    if file.is_dir():
        raise ZooError(
            f"out={out} is a folder; name the file to write, such as {file / 'model'}{ENDINGS[format]}"
        )
    if file.suffix != ENDINGS[format]:
        raise ZooError(f"out={out} must end in {ENDINGS[format]}, as format={format} is called")
    if not file.parent.is_dir():
        raise ZooError(f"out={out} cannot be written: there is no folder {file.parent}; make it first")
    return file


def check_folder(out: str | Path) -> Path:
    """The folder to write into, which need not be there. Raises ZooError if it can't be, or must not be written to."""
    folder = Path(out).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        which = "is a file" if there == folder else f"cannot be made: {there} is a file"
        raise ZooError(f"out={out} {which}; give a folder, such as out={there.with_suffix('')}-out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ZooError(f"out={out} cannot be written: {there} must not be written to; give another folder")
    return Path(out)
