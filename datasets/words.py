"""`key=value` words of this package's command lines."""

import os
import shlex
from collections.abc import Iterable, Sequence

from datasets.errors import DatasetError, nearest


def parse(words: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Value by key. raises: DatasetError for a word that isn't known (with the nearest), empty, or repeated."""
    known = tuple(known)
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            raise DatasetError(f"{word!r} is no word of this command; {nearest(key, known)} (see --help)")
        if not equals or not value:
            raise DatasetError(f"{word!r} has no value; write {key}=...")
        if key in given:
            raise DatasetError(f"{key}= is given twice; once is enough")
        given[key] = value
    return given


def begun_with() -> str:
    """What stands before every command in the shell that this one was typed in: `uv run `, or nothing."""
    return "uv run " if "UV" in os.environ else ""  # uv tells what it runs


def command(module: str, words: Iterable[str] = ()) -> str:
    """A command to type, as it works in that shell."""
    return begun_with() + shlex.join(["python", "-m", module, *words])
