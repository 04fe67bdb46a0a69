"""Where data sets, studies and checkpoints live."""

import os
from pathlib import Path

from datasets.errors import DatasetError
from datasets.sqlite import UNFIT


def home() -> Path:
    """Absolute path of the one folder for everything that is made: WAVEZOO_HOME, or ./wavezoo-data.

    The folder need not exist yet. It is read from the environment at each call, so that a worker process
    with the driver's environment finds the driver's data.
    raises: DatasetError if the place is taken by something that is not a folder, or its path is one that MLflow
            can't use.
    """
    place = Path(os.environ.get("WAVEZOO_HOME") or "wavezoo-data").expanduser().absolute()
    if unfit := UNFIT.search(str(place)):  # quoted, MLflow makes a folder of the quoted name besides
        raise DatasetError(
            f"{place}: MLflow can't keep a database in a folder with '{unfit[0]}' in its path; set WAVEZOO_HOME to one "
            f"without it"
        )
    if place.exists() and not place.is_dir():
        raise DatasetError(f"{place} is not a folder; set WAVEZOO_HOME to one that data may be written to")
    return place


def made_home() -> Path:
    """home(), made where it is not there yet. raises: DatasetError, with the reason, where it can't be."""
    place = home()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"{place} can't be made ({error.strerror}); set WAVEZOO_HOME to a folder that may be written to"
        ) from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise DatasetError(
            f"{place} can't be written to; set WAVEZOO_HOME to a folder that may be written to"
        )
    return place


def folder_of(name: str, under: Path | None = None) -> Path:
    """Folder of the data set `name`, below `under` or else below home()."""
    return (under if under is not None else home()) / "datasets" / name
