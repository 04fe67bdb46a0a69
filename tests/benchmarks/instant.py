"""Trials that cost nothing: searches in which only the search itself takes time.

The space is the joint one, the data set is made up, and a trial's result lies in its folder before its worker looks
there: so everything runs as in a search (asking, the ledger, Ray Tune, the worker, the board, MLflow) but the training.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search import files, spaces
from search.outcome import Outcome
from search.planning import data
from search.planning.job import Job
from search.recording.delivering import EPOCH_METRICS
from search.recording.search_run import SearchRun
from search.study import ledger
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.words import read_words

MADE_UP = data.Data(
    name="demo",
    fingerprint="0" * 16,
    convention="default",
    clips={"train": 400, "valid": 80, "test": 80},
    segmented_samples=220_500,
    sample_rate_hz=22_050,
    tags=20,
    tag_hash="0" * 16,
    why="",
)


@contextmanager
def made_up_home() -> Iterator[Path]:
    """A WAVEZOO_HOME of its own until the end of the context."""
    with TemporaryDirectory(prefix="overhead-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get("WAVEZOO_HOME")
        os.environ["WAVEZOO_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("WAVEZOO_HOME")
            if before is not None:
                os.environ["WAVEZOO_HOME"] = before


def a_decider(trials: int, *more: str) -> Decider:
    """Of a search for the best of so many networks, with nothing in its ledger yet."""
    words = ("space=joint", "dataset=demo", "budget=small", f"trials={trials}", *more)
    settings = read_words(words)
    job = Job.of(settings, spaces.load(settings.space), MADE_UP, words)
    return Decider(ledger.open_study(job), job)


def a_search_run(name: str) -> SearchRun:
    """What the run of such a search says of it in MLflow."""
    return SearchRun(
        name, name, {"space": "joint"}, {"space": "joint"}, {"space": "joint"}, {"commit": "none"}
    )


def row(epoch: int, score: float) -> dict[str, Any]:
    """An epoch that no one trained."""
    return {**dict.fromkeys(EPOCH_METRICS, 0.5), "epoch": epoch, "stage": 0, "valid_roc_auc": score}


def result(signature: str, score: float) -> dict[str, Any]:
    """What a trial would have found out, in the size that it has."""
    scores = {"roc_auc": score, "pr_auc": score / 2, "tags_scored": MADE_UP.tags, "loss": 1 - score}
    tags = [{"tag": f"tag {at}", "roc_auc": score, "pr_auc": score / 2} for at in range(MADE_UP.tags)]
    return {
        "signature": signature,
        "epochs": 1,
        "seconds": 0.0,
        "valid": scores,
        "test": scores,
        "tags": tags,
        "protocol": {"dataset": "demo", "clips": 80},
    }


@dataclass
class Instant:
    """A watcher that leaves the result of every trial in its folder before a worker has heard of it.

    ends: when each trial was settled, by the wall's clock and by the processor time of this process (seconds).
    """

    chance: random.Random = field(default_factory=lambda: random.Random(0))
    ends: list[tuple[float, float]] = field(default_factory=list)

    def started(self, assignment: Assignment) -> None:
        score, folder = self.chance.random(), files.trial_folder(assignment.signature)
        (folder / files.CHECKPOINT).mkdir(parents=True, exist_ok=True)
        (folder / files.CHECKPOINT / "card.json").write_text("{}")
        (folder / files.SCORES).write_bytes(b"")
        files.write_json(folder / files.EPOCHS, [{**row(1, score), "last": True}])
        files.write_json(folder / files.RESULT, result(assignment.signature, score))

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        """Nothing to do."""

    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        if outcome is not Outcome.DONE:
            raise RuntimeError(f"an instant trial ended otherwise: {why}")
        self.ends.append((time.perf_counter(), time.process_time()))

    def cost_ms(self) -> tuple[float, float]:
        """Of a trial after the first ones, for which the workers start: (wall, this process's processor time)."""
        later = self.ends[len(self.ends) // 5 :]
        wall, core = (later[-1][at] - later[0][at] for at in (0, 1))
        return wall / (len(later) - 1) * 1e3, core / (len(later) - 1) * 1e3


def settle(decider: Decider, assignment: Assignment, score: float) -> None:
    """A trial without Ray: its epoch and its result reach the ledger."""
    decider.record(assignment.number, 1, score)
    decider.finish(assignment.number, result(assignment.signature, score))
