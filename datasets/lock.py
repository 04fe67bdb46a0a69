"""One at a time: a file that is held while something is made."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import DatasetError


@contextmanager
def only_one(file: Path, refusal: str) -> Iterator[None]:
    """Hold `file` until the block ends; DatasetError(refusal) if another process holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        try:
            # Freed by the system when this process ends, however it ends.
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(refusal) from None
        yield
