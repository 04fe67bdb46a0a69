"""The folder of a trial, `trials/<signature>`: everything about it that must survive, and who writes it.

    settings.json      what the signature is the hash of
    epochs.json        the epochs so far, for whoever looks on
    state.safetensors  where training goes on after an interruption; gone when it has ended
    moment.safetensors the same inside the epoch that follows; gone when that has ended
    checkpoint/        the weights that count, with their card
    scores.parquet     what the network says of every clip of valid and test
    resamples.safetensors  what it scores on each resample of them, so that intervals take no second computation
    system.jsonl       what each epoch used of the machine
    lock               held by the process that trains it
    attempt            there while a process is at it, and after it was lost; see trials/attempts.py
    hang.txt, error.txt, apart.txt, plain.txt  for a person: why it hung, failed, fell apart, went without a graph
    result.json        the scores; written last, so it is there exactly when the trial is done

What a trial goes on from, or is judged by, is written beside and renamed: a reader sees all of it or none, whenever
the power fails.

Where machines share no disk, WAVEZOO_TRIALS names a storage that all of them reach (the word `cluster.storage`, see
storage.py): the folders are copied into it as they grow, and brought from it where it is further than what lies here.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datasets.home import home
from datasets.whole import remove_parts, written_whole
from search.checks import check_storage
from search.errors import SearchError
from search.failures import StorageAway

if TYPE_CHECKING:
    from search.storage import Storage

TRIALS = "WAVEZOO_TRIALS"  # the environment variable
SETTINGS, EPOCHS, STATE, RESULT = "settings.json", "epochs.json", "state.safetensors", "result.json"
MOMENT = "moment.safetensors"
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
    remove_parts(folder)
    return file


def remove_states(folder: Path) -> None:
    """Of a trial that has ended: it goes on from nowhere."""
    for name in (STATE, MOMENT):
        (folder / name).unlink(missing_ok=True)


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
    """The scores of a trial that has ended, here or on another machine, or None."""
    path = trial_folder(signature) / RESULT
    result: dict[str, Any] | None = read_json(path)
    if result is None and storage() is not None:
        bring(signature)
        result = read_json(path)
    return result


def trained_by(signature: str) -> str | None:
    """The study whose driver trained it to its end, as the card of its checkpoint says; None where nobody knows."""
    try:
        card = json.loads((trial_folder(signature) / CHECKPOINT / "card.json").read_text(encoding="utf-8"))
        return str(card["lineage"]["search"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_epochs(signature: str) -> list[dict[str, Any]]:
    """The epochs of a trial so far, here or on another machine."""
    bring(signature, EPOCHS)
    return read_json(trial_folder(signature) / EPOCHS) or []


def storage() -> "Storage | None":
    """Where the machines of the cluster find each other's trials; None where they share a disk."""
    address = os.environ.get(TRIALS)
    if not address:
        return None
    check_storage(address)
    from search import storage as storages  # with pyarrow, which is not for everyone

    return storages.at(address, storages.endpoint())


def bring(signature: str, *names: str, patient: bool = True) -> None:
    """Take over what another machine has done of a trial, where the storage is further than this folder.

    names: of the files that are wanted; all of them where none is named, or where this machine trained it, too.
    patient: wait for a storage that is away. raises: SearchError if the storage can't be used.
    """
    store, folder = storage(), trial_folder(signature)
    if store is None:
        return
    names = () if (folder / STATE).exists() else names  # a state and epochs of two machines would not agree
    about = store.fetch(signature, folder, progress(folder), names, patient)
    if about is not None and about.ended and not names:
        remove_states(folder)


def share(signature: str, patient: bool = False) -> bool:
    """Copy a trial's folder into the storage, where there is one. Returns whether it is there now.

    patient: wait for a storage that is away. raises: StorageAway if it stays away, and only then.
    """
    if (store := storage()) is None:
        return True
    folder = trial_folder(signature)
    try:
        store.push(signature, folder, *progress(folder), patient=patient)
    except StorageAway:
        if patient:
            raise
        return False
    return True


def progress(folder: Path) -> tuple[bool, int]:
    """Whether a trial has ended, and its epochs: larger for the copy of a folder from which one gets further.

    Epochs without a state are those of another machine, for looking on.
    """
    ended, epochs = (folder / RESULT).is_file(), len(read_json(folder / EPOCHS) or ())
    return (ended, epochs if ended or (folder / STATE).is_file() else 0)
