"""Addresses of SQLite files, as SQLAlchemy, and so Optuna and MLflow, read them."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

# What an address can't hold of a path as it is: a ? ends it, and %41 is read as A
UNFIT = re.compile(r"\?|%[0-9A-Fa-f]{2}")


def address_of(file: Path) -> str:
    """The address of a file, UNFIT quoted and nothing else, so that most are the path as it is."""
    return "sqlite:///" + UNFIT.sub(lambda found: quote(found[0]), str(file))


def file_of(address: str) -> Path | None:
    """The file that an address leads to; None where it is no SQLite file's, or its own driver must read it."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", address)
    if found is None or found[1].startswith((":memory:", "file:")):
        return None
    return Path(unquote(found[1]))


def is_missing(address: str) -> bool:
    """Whether it is the address of a SQLite file that is not there, which asking would make."""
    file = file_of(address)
    return file is not None and not file.is_file()
