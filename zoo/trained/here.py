"""Trained networks on this machine, without MLflow: a checkpoint's folder, a trial's folder, a trial's signature."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.home import home
from zoo.errors import ZooError, did_you_mean
from zoo.registry import entry

__all__ = ["EXAMPLE", "checkpoint_here", "is_here"]

CARD, SETTINGS = "card.json", "settings.json"  # what a checkpoint has, and what a trial begins with
CHECKPOINT = "checkpoint"  # the folder of it in a trial's
SIGNATURE = re.compile(r"[0-9a-f]{6,16}")  # or as many of its first digits as a leaderboard shows
EXAMPLE = "models:/demo-table2@champion"


def is_here(word: str) -> bool:
    """Whether a word means a folder, or has the form of a signature, rather than of a network's name."""
    return Path(word).is_dir() or SIGNATURE.fullmatch(word) is not None


def checkpoint_here(word: str | Path) -> Path:
    """The folder of the checkpoint that a word means; nothing of torch or MLflow is loaded to say so.

    word:   a folder with a checkpoint, the folder of a trial, or the signature of one below WAVEZOO_HOME.
    raises: ZooError, in one line, if it is none of them. A folder that holds something else is returned as it is:
            `zoo.read` says what it lacks.
    """
    path = Path(word)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        raise ZooError(
            f"{word} is a file; give the folder of a checkpoint, with card.json and weights.safetensors in it"
        )
    if SIGNATURE.fullmatch(str(word)):
        return _in_folder(_trial(str(word)))
    raise ZooError(_why_not(str(word)))


def _in_folder(path: Path) -> Path:
    if not (path / CARD).is_file():
        if (path / CHECKPOINT / CARD).is_file():
            return path / CHECKPOINT
        if (path / SETTINGS).is_file():
            raise ZooError(
                f"{path} is a trial without a checkpoint: it has not ended; its search's command again goes on"
            )
    return path


def _trial(digits: str) -> Path:
    trials = home() / "trials"
    known = sorted(folder.name for folder in trials.glob("*") if SIGNATURE.fullmatch(folder.name))
    found = [name for name in known if name.startswith(digits)]
    if len(found) > 1:
        raise ZooError(f"{digits} begins {len(found)} signatures: {', '.join(found[:5])}; give more digits")
    if not found:
        raise ZooError(f"no trial in {trials} has the signature {digits}{did_you_mean(digits, known)}")
    return trials / found[0]


def _why_not(word: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32}", word):
        return f"there is no folder {word}; a run of MLflow's is written runs:/{word}"
    if _is_network(word):
        return (
            f"{word} is a network's name, and nothing trained; give a model, such as {EXAMPLE}, or a trial's "
            "signature"
        )
    if re.fullmatch(r"[\w-]+", word):
        return (
            f"there is no folder {word}; if it is a registered model, did you mean models:/{word}@champion?"
        )
    return (
        f"there is no folder {word}; give that of a checkpoint or a trial, a trial's signature, or {EXAMPLE}"
    )


def _is_network(word: str) -> bool:
    try:
        entry(word)
    except ZooError:
        return False
    return True
