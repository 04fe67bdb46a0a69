"""Check every file of a built data set against the checksum it was written with.

    python -m datasets.verify name=mtat

Words (key=value):
    name=NAME       which data set
    out=FOLDER      home of all data; default: WAVEZOO_HOME, or ./wavezoo-data

Ends with 0 if all is as it was written, and with 1 if not: each file at fault is then named, and the command
that makes just those again.
"""

import hashlib
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datasets import recipe as recipes
from datasets import words as typed
from datasets.cards import CARD_FILE, SKIPPED_FILE, Card, StoredFile, fingerprint, parse
from datasets.errors import DatasetError
from datasets.home import folder_of
from datasets.making import cores
from datasets.progress import progress

WORDS = ("name", "out")


def verify(
    name: str, out: str | Path | None = None, done: Callable[[int], None] = lambda files: None
) -> list[str]:
    """What is wrong with the store of `name`, a line for each file; empty if nothing is.

    out:    home of all data instead of datasets.home(). done: hears of each file that has been read.
    raises: DatasetError if there is no such store, or if its card can't be read.
    """
    about, folder = stored_card(name, out)
    files = [*about.shards, about.index]
    with ThreadPoolExecutor(cores()) as readers:  # checksums are computed without Python's lock
        found = []
        try:
            for fault in readers.map(lambda file: _fault(folder, file), files):
                found.append(fault)
                done(1)
        except BaseException:
            readers.shutdown(cancel_futures=True)
            raise
    return [*filter(None, found), *_other_faults(about, folder)]


def stored_card(name: str, out: str | Path | None) -> tuple[Card, Path]:
    """The card of a store and its folder; DatasetError if there is none or it can't be read."""
    folder = folder_of(name, None if out is None else Path(out).expanduser().absolute())
    file = folder / CARD_FILE
    if not file.is_file():
        recipe = recipes.find(name)  # a wrong name is answered with its neighbours
        raise DatasetError(f"{name} has not been built in {folder}; type: {_there(recipe.command, out)}")
    return parse(file.read_bytes(), file), folder


def rebuild_command(about: Card, out: str | None) -> str:
    """What to type to make what is damaged again, and nothing else."""
    return _there(about.command, out)


def _there(command: str, out: str | Path | None) -> str:
    """The command, for the home that was asked for."""
    return command if out is None else f"{command} out={shlex.quote(str(out))}"


def _fault(folder: Path, file: StoredFile) -> str | None:
    """What is wrong with one file, or None."""
    place = folder / file.file
    try:
        size = place.stat().st_size
        if size != file.bytes:
            return f"{place}: {size:,} bytes, {file.bytes:,} were written"
        with place.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{place}: missing"
    except OSError as problem:
        return f"{place}: it can't be read ({problem.strerror})"
    return (
        None
        if digest == file.sha256
        else f"{place}: damaged, its checksum is not the one it was written with"
    )


def _other_faults(about: Card, folder: Path) -> Iterator[str]:
    if not (folder / SKIPPED_FILE).is_file():
        yield f"{folder / SKIPPED_FILE}: missing"
    if fingerprint((*about.shards, about.index)) != about.fingerprint:
        yield f"{folder / CARD_FILE}: fingerprint {about.fingerprint} is not that of the files it lists"


def _report(given: dict[str, str]) -> int:
    about, folder = stored_card(given["name"], given.get("out"))
    files = [*about.shards, about.index]
    with progress(f"checking {about.name}", len(files), "files") as done:
        faults = verify(given["name"], given.get("out"), done)
    if not faults:
        size = sum(file.bytes for file in files)
        print(
            f"{about.name}: all {len(files):,} files ({size / 1e9:,.2f} GB) are as they were written, ",
            end="",
        )
        print(f"fingerprint {about.fingerprint}, in {folder}")
        return 0
    print("\n".join(faults))
    print(
        f"{about.name}: {len(faults):,} of {len(files):,} files are at fault; this makes them again, and no other:"
    )
    print(f"    {rebuild_command(about, given.get('out'))}")
    return 1


def main(words: list[str]) -> int:
    """Command line; returns the exit code: 0 all right, 1 damaged, 2 refused with one line, 130 interrupted."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    try:
        given = typed.parse(words, WORDS)
        if "name" not in given:
            raise DatasetError(f"which data set? write name=...; known: {', '.join(recipes.names())}")
        return _report(given)
    except DatasetError as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; to begin again: {typed.command('datasets.verify', words)}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
