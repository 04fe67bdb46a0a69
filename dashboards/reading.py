"""What pages read: searches from the ledger, trials from their folders, and their runs in MLflow.

A file is read again when it has changed, so a trial that has ended is read once. What is broken of one trial costs that
trial a line: nothing here raises because of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dashboards.aside import Aside
from dashboards.blocks import Link
from dashboards.runs import Runs
from datasets.errors import reason
from search import files
from search.errors import SearchError
from search.failures import StorageAway
from search.outcome import Outcome
from search.scoring import resamples, score_table
from search.scoring.resamples import Resampled
from search.scoring.score_table import ClipScores
from search.study import records
from search.study.records import Record, Search

FRESH_SECONDS = 1.0  # the ledger is asked again after so long, however many look on
AWAY_SECONDS = 10.0  # the same for the storage of machines that share no disk
LATELY_SECONDS = 600.0  # a trial whose folder changed since then is taken to run, wherever its driver is
OF_A_ROW = {"epoch", "stage", "train_loss", "valid_loss", "valid_roc_auc", "seconds"}
OF_A_PROTOCOL = (
    *("dataset", "fingerprint", "convention", "clips", "sample_rate_hz", "segments_per_clip"),
    *("tags_scored", "tag_hash"),
)


@dataclass(frozen=True)
class Trial:
    """A trial's folder. result: None where it has not ended. trouble: what is wrong with the folder, in a line.

    epochs: so far; of a trial that has ended they are there only where they were asked for, see `Reading.whole`.
    """

    record: Record
    result: Mapping[str, Any] | None
    epochs: Sequence[Mapping[str, Any]] = ()
    trouble: str = ""

    @property
    def seconds(self) -> float:
        """What its epochs took."""
        return self.result["seconds"] if self.result else sum(row["seconds"] for row in self.epochs)

    @property
    def count(self) -> int:
        """How many epochs it has."""
        return self.result["epochs"] if self.result else len(self.epochs)


class Reading:
    """All that pages read; safe to be used from several threads.

    storage: the ledger's address, as in the words of search.run. mlflow: the http address of its server, for links.
    patient: for pages that are written once: what takes long is waited for, where a server shows it later.
    """

    def __init__(self, storage: str | None = None, mlflow: str | None = None, patient: bool = False) -> None:
        self.runs, self.aside = Runs(mlflow, patient), Aside(patient)
        self._records = records.Records(storage)
        self._searches: tuple[float, list[Search]] = (-FRESH_SECONDS, [])
        self._files: dict[Path, tuple[object, Any, str]] = {}
        self._asked: dict[str, tuple[float, str]] = {}
        self._away = (-AWAY_SECONDS, "")
        self._lock = threading.RLock()

    def searches(self) -> list[Search]:
        """Newest first. raises: SearchError if the ledger can't be read."""
        with self._lock:
            since, known = self._searches
            if time.monotonic() - since >= FRESH_SECONDS:
                known = self._records.searches()[::-1]
                self._searches = (time.monotonic(), known)
            return known

    @property
    def away(self) -> str:
        """Why the storage of machines that share no disk is not asked for now; "" where it is."""
        since, why = self._away
        return why if time.monotonic() - since < AWAY_SECONDS else ""

    def trial(self, record: Record) -> Trial:
        """What the folder of a training says by now; of one that has ended without its epochs."""
        folder = files.trial_folder(record.signature)
        trouble = self._bring(record, folder)
        if record.outcome is not Outcome.DONE:
            epochs, broken = self._kept(folder / files.EPOCHS, _epochs)
            return Trial(record, None, epochs or (), broken or trouble)
        result, why = self._kept(folder / files.RESULT, _result)
        if result is None and not why and not self.away:
            why = trouble or f"{folder / files.RESULT} is gone; its search trains that network again"
        return Trial(record, result, (), why)

    def whole(self, trial: Trial) -> Trial:
        """The same with its epochs."""
        epochs, broken = self._kept(files.trial_folder(trial.record.signature) / files.EPOCHS, _epochs)
        return replace(trial, epochs=epochs or (), trouble=trial.trouble or broken)

    def resampled(self, signature: str) -> Resampled | None:
        """What a trial scored on each resample of the clips; None where that is not kept, or broken."""
        found: Resampled | None = self._kept(files.trial_folder(signature) / files.RESAMPLES, resamples.read)[
            0
        ]
        return found

    def scores(self, signature: str) -> ClipScores:
        """The scores of a trial's clips; not kept, as they are large. raises: SearchError if they can't be read."""
        return score_table.read(files.trial_folder(signature) / files.SCORES)

    def run(self, search: str, signature: str) -> Link | None:
        """The run of a trial in MLflow; None where there is none, or it is not known yet."""
        address = self.runs.address_of(search, signature)
        return Link(address=address) if address else None

    def is_live(self, search: Search) -> bool:
        """Whether something of it is being trained: it is driven here, or its trials were written to lately."""
        return records.driven(search.name) or any(self.is_running(each) for each in search.records)

    def is_running(self, record: Record) -> bool:
        """Whether a trial that the ledger calls running really is, and was not left behind by a driver that is gone."""
        if record.outcome is not Outcome.RUNNING:
            return False
        folder = files.trial_folder(record.signature)
        written = [_stamp(folder / name) for name in (files.EPOCHS, files.MOMENT, files.SETTINGS)]
        return any(each and time.time() - each[0] / 1e9 < LATELY_SECONDS for each in written)

    def _bring(self, record: Record, folder: Path) -> str:
        """Where machines share no disk: what the others have of a trial. Returns why that did not go well.

        A storage that is away is asked once, not for each trial, and `away` says why.
        """
        if (folder / files.RESULT).is_file() or not os.environ.get(files.TRIALS) or self.away:
            return ""
        since, why = self._asked.get(record.signature, (-AWAY_SECONDS, ""))
        if time.monotonic() - since < AWAY_SECONDS:
            return why
        # Half of a folder that has ended would pass for all of it: it is brought whole.
        names = [] if record.outcome is Outcome.DONE else [files.EPOCHS]
        why = ""
        try:
            files.bring(record.signature, *names, patient=False)
        except StorageAway as error:
            self._away = (time.monotonic(), str(error))
        except (SearchError, OSError) as error:
            why = reason(error)
        self._asked[record.signature] = (time.monotonic(), why)
        return why

    def _kept(self, path: Path, read: Callable[[Path], Any]) -> tuple[Any, str]:
        """What a file holds, and what is wrong with it; read again when it has changed."""
        stamp = _stamp(path)
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, *_read(path, read)) if stamp else (None, None, "")
            self._files[path] = known
        return known[1], known[2]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, read: Callable[[Path], Any]) -> tuple[Any, str]:
    try:
        return read(path), ""
    except (SearchError, OSError) as error:
        return None, str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return None, f"{path} is not what a trial writes ({type(error).__name__}: {error})"


def _epochs(path: Path) -> Sequence[Mapping[str, Any]]:
    rows = files.read_json(path) or []
    for row in rows:
        if lacking := OF_A_ROW - row.keys():
            raise KeyError(min(lacking))
    return tuple(rows)


def _result(path: Path) -> Mapping[str, Any] | None:
    """A result that has all that pages show."""
    result: Mapping[str, Any] | None = files.read_json(path)
    if result is None:
        return None
    for split in ("valid", "test"):
        for score in ("roc_auc", "pr_auc"):
            float(result[split][score])
    float(result["seconds"])
    float(result["test"]["roc_auc_low"] + result["test"]["roc_auc_high"])
    for name in OF_A_PROTOCOL:
        result["protocol"][name]
    for tag in result["tags"]:
        tag["tag"], tag["positives"], tag["roc_auc"]
    int(result["epochs"])
    return result
