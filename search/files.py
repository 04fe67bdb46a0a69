"""The folder of a trial, `trials/<signature>`: everything about it that must survive, and who writes it.

    settings.json      what the signature is the hash of
    epochs.json        the epochs so far, for whoever looks on
    state.safetensors  where training goes on after an interruption; gone when it has ended
    checkpoint/        the weights that count, with their card
    scores.parquet     what the network says of every clip of valid and test
    resamples.safetensors  what it scores on each resample of them, so that intervals take no second computation
    lock               held by the process that trains it
    result.json        the scores; written last, so it is there exactly when the trial is done

Every file is written beside and renamed: a reader sees all of it or none, whenever the power fails.
"""

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from datasets.home import home
from datasets.whole import written_whole
from search.settings import SearchError

SETTINGS, EPOCHS, STATE, RESULT = "settings.json", "epochs.json", "state.safetensors", "result.json"
CHECKPOINT, SCORES, RESAMPLES, LOCK = "checkpoint", "scores.parquet", "resamples.safetensors", "lock"


def trial_folder(signature: str) -> Path:
    return home() / "trials" / signature


def lock(folder: Path) -> IO[bytes]:
    """Hold a trial's folder until the file returned is closed, or its process ends, however it ends.

    Waits while another process holds it, and removes what writers that were killed left half-written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("ab")
    fcntl.flock(file, fcntl.LOCK_EX)
    for part in folder.glob("*.part"):
        part.unlink()
    return file


def write_json(path: Path, record: Any) -> None:
    write_text(path, json.dumps(record, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The record in the file, or None where there is no file. SearchError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SearchError(
            f"{path} is damaged ({error}); remove its folder to train that network again"
        ) from error


def read_result(signature: str) -> dict[str, Any] | None:
    """The scores of a trial that has ended, or None."""
    return read_json(trial_folder(signature) / RESULT)


def read_epochs(signature: str) -> list[dict[str, Any]]:
    """The epochs of a trial so far."""
    return read_json(trial_folder(signature) / EPOCHS) or []
