"""Where data sets, studies and checkpoints live."""

import os
from pathlib import Path

from datasets.errors import DatasetError


def home() -> Path:
    """Absolute path of the one folder for everything that is made: WAVEZOO_HOME, or ./wavezoo-data.

    The folder need not exist yet. It is read from the environment at each call, so that a worker process
    with the driver's environment finds the driver's data.
    raises: DatasetError if the place is taken by something that is not a folder.
    """
    place = Path(os.environ.get("WAVEZOO_HOME") or "wavezoo-data").expanduser().absolute()
    if place.exists() and not place.is_dir():
        raise DatasetError(f"{place} is not a folder; set WAVEZOO_HOME to one that data may be written to")
    return place


def folder_of(name: str, under: Path | None = None) -> Path:
    """Folder of the data set `name`, below `under` or else below home()."""
    return (under if under is not None else home()) / "datasets" / name
