"""What the zoo refuses, and the nearest thing that it would have taken."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["CheckpointError", "ZooError", "did_you_mean"]


class ZooError(ValueError):
    """A name, an option or a value that the zoo has no network for. One line, fit to be shown as it is."""


class CheckpointError(ZooError):
    """A checkpoint that is damaged, foreign, or does not belong to the network that its card names."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error: `; did you mean A or B?`, or nothing if no known word is near.

    word:    what was asked for.
    known:   what exists.
    returns: "" or a text that starts with a semicolon.
    """
    near = get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
