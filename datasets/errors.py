"""What this package refuses, and how: one line saying what came, what was wanted, what to change."""

import difflib
import re
from collections.abc import Iterable


class DatasetError(ValueError):
    """A data set, its source or a question about it was refused; the message is one line for a person."""


class AudioError(DatasetError):
    """An audio file gives no samples.

    reason: "missing", "empty" or "undecodable", the words of the build's report.
    detail: what exactly was found, without the file's name.
    """

    def __init__(self, path: object, reason: str, detail: str) -> None:
        super().__init__(f"{path} is {reason}: {detail}")
        self.reason = reason
        self.detail = detail


def nearest(word: str, known: Iterable[str], most: int = 3, key: str = "") -> str:
    """End of a refusal of `word`: its neighbours among the known words, or all of them.

    most: how many neighbours are named. key: the `key=` that the word is typed behind.
    """
    options = sorted(known)
    close = [key + option for option in difflib.get_close_matches(word, options, n=most, cutoff=0.5)]
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(options)}"


def reason(error: Exception) -> str:
    """What an error says, for a person: of the system's, the file and why, without their number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def without_password(text: str) -> str:
    """The text with the user and password of every address in it left out, also where they hold a / or an @."""
    without = re.sub(r"://[^/@\s:]*(:[^@\s]*)?@([^/@\s]*@)*", "://...@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s]+", r"\1...", without)
