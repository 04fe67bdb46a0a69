"""Files that are there whole or not at all, whenever the power fails."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(file: Path, first: bool = False) -> Iterator[Path]:
    """A path to write to; it takes the name `file` only when the block ends well, so nobody reads half.

    first: where a file has that name by then, that one stays, and what was written goes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two writers never share one, be they threads of one process
    part = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _name(part, file, first)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, file: Path, first: bool) -> None:
    if not first:
        part.replace(file)
        return
    try:
        os.link(part, file)  # which NFS refuses, too, where there is one
    except FileExistsError:
        pass
    except OSError:  # a disk that knows no links
        if not file.exists():
            part.replace(file)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed left half-written in a folder, and below: files, and folders of files.

    For whoever is the only one that writes there.
    """
    for part in sorted(folder.rglob("*.part")):  # a folder before what is in it
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
