"""MLflow shows and serves: one run per search, one below it per trial, written from the driver in batches.

The trials' folders are the truth and MLflow the copy: a thread brings each run up to what its trial's folder holds.
It never blocks the search. While the server is away the copying waits; a rerun copies what is still missing.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.home import home
from datasets.whole import written_whole
from search import files, notes, scores, usage
from search.deciding import Assignment, Ended

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SQLITE = "sqlite:///"
PARENT, STUDY, SIGNATURE = "mlflow.parentRunId", "wavezoo.study", "wavezoo.signature"
NOTE = "mlflow.note.content"
RETRY_SECONDS = 5.0
NOTE_SECONDS = 10.0  # how old the note on the search's run may be
# A paused one is to go on: MLflow's word for a run that has not begun comes nearest.
STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "paused": "SCHEDULED"}
EPOCH_METRICS = ("learning_rate", "train_loss", "valid_loss", "valid_roc_auc", "valid_pr_auc", "seconds")


def tracking_uri(given: str | None) -> str:
    """The words' address, else MLFLOW_TRACKING_URI, else a SQLite file under home()."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{home() / 'mlflow.db'}"


def client(uri: str) -> "MlflowClient":
    """MLflow's client, quiet and without telemetry; makes the store's tables where it is a file that is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the thread here has its own patience
    os.environ.setdefault(
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"
    )  # two lines for each run that ends
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow"):  # after the import, which sets levels of its own
        logging.getLogger(logger).setLevel(logging.ERROR)
    if uri.startswith(SQLITE) and not (file := Path(uri.removeprefix(SQLITE))).is_file():
        # Tables that a kill left half-made could never be used again: the file gets its name when it is whole.
        with written_whole(file) as part:
            MlflowClient(f"{SQLITE}{part}").search_experiments()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@dataclass(frozen=True)
class SearchRun:
    """What a parent run says of its search."""

    experiment: str
    study: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    question: str = ""

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags of every run: what they are of, the code, and the command that makes them again."""
        commit, dirty = self.environment.get("git_commit"), self.environment.get("git_dirty")
        told = {"wavezoo.command": str(self.environment.get("command", ""))}
        if commit:
            told |= {"mlflow.source.git.commit": str(commit), "git_dirty": str(bool(dirty)).lower()}
        return {**self.tags, **told}


@dataclass
class _Copy:
    """How far a trial's run is: `epochs` rows are in MLflow, `outcome` is what the run is still to be told."""

    assignment: Assignment
    run_id: str | None = None
    epochs: int = 0
    outcome: str | None = None
    why: str = ""
    stale: bool = True
    tries: int = 0
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Tracker:
    """A watcher of the search that keeps MLflow up to date from a thread of its own."""

    def __init__(self, uri: str, search: SearchRun) -> None:
        self.uri, self.search = uri, search
        self.trouble: str | None = None
        self.parent_id: str | None = None
        self.experiment_id = ""
        self._copies: dict[str, _Copy] = {}
        self._complete = True
        self._whole: dict[tuple[str, str], str] = {}
        self._children: dict[str, notes.Child] = {}
        self._noted: tuple[float, int] = (-NOTE_SECONDS, -1)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def started(self, assignment: Assignment) -> None:
        self._copies[assignment.signature] = _Copy(assignment)
        self._wake.set()

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        self._copies[assignment.signature].stale = True
        self._wake.set()

    def ended(self, assignment: Assignment, outcome: str, why: str) -> None:
        copy = self._copies.setdefault(assignment.signature, _Copy(assignment))
        with copy.lock:
            copy.outcome, copy.why, copy.stale = outcome, why, True
        self._wake.set()

    def add(self, settled: Ended) -> None:
        """A trial that ended unseen, under an earlier driver or in another search."""
        if settled.assignment.signature not in self._copies:
            why = f"{settled.kind}: {settled.why}" if settled.kind else settled.why
            self.ended(settled.assignment, settled.outcome, why)

    def close(self, complete: bool, patience_seconds: float) -> int:
        """Wait for the thread to finish its copies. Returns how many runs are still not up to date."""
        deadline = time.monotonic() + patience_seconds
        self._complete = complete
        self._closing.set()
        self._wake.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return sum(copy.stale for copy in self._copies.values())

    def run_id(self, signature: str) -> str | None:
        """The MLflow run of a trial, where it has been copied whole."""
        copy = self._copies.get(signature)
        return copy.run_id if copy and not copy.stale else None

    def _work(self) -> None:
        mlflow: MlflowClient | None = None
        while True:
            self._wake.wait(RETRY_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                mlflow = mlflow or self._connect()
                # What failed before comes last: one bad run must not keep the others waiting.
                for copy in sorted(self._copies.values(), key=lambda copy: copy.tries):
                    if copy.stale:
                        self._bring_up(mlflow, copy)
                        self._note(mlflow)
                if closing:
                    self._end_parent(mlflow)
                    return
                self.trouble = None
            except (
                Exception
            ) as error:  # whatever a server or a network can do: the search goes on, this tries again
                self.trouble = f"MLflow at {self.uri}: {' '.join(str(error).split())[:200]}"
                if closing:
                    time.sleep(RETRY_SECONDS)
                    self._wake.set()

    def _connect(self) -> "MlflowClient":
        """The client, with the search's own run at hand: the one of an earlier driver where there is one."""
        mlflow = client(self.uri)
        experiment = mlflow.get_experiment_by_name(self.search.experiment)
        if experiment is None:
            artifacts = None if self.uri.startswith("http") else (home() / "mlflow").as_uri()
            self.experiment_id = mlflow.create_experiment(self.search.experiment, artifact_location=artifacts)
        else:
            self.experiment_id = experiment.experiment_id
            self._whole = self._whole_runs(mlflow)
        run = self._find(mlflow, STUDY, self.search.study)
        if run is None:
            tags = {**self.search.own_tags, STUDY: self.search.study}
            run = mlflow.create_run(self.experiment_id, tags=tags, run_name=self.search.study)
        else:
            mlflow.update_run(run.info.run_id, status="RUNNING")
        self._describe(mlflow, run, self.search.params, self.search.config)
        self.parent_id = run.info.run_id
        return mlflow

    def _find(self, mlflow: "MlflowClient", tag: str, value: str) -> "Run | None":
        found = mlflow.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0] if found else None

    def _whole_runs(self, mlflow: "MlflowClient") -> dict[tuple[str, str], str]:
        """(signature, status) -> run of every trial that earlier drivers have copied to its end."""
        found: dict[tuple[str, str], str] = {}
        token: str | None = None
        while True:
            page = mlflow.search_runs(
                [self.experiment_id], "attributes.status != 'RUNNING'", page_token=token
            )
            for run in page:
                if SIGNATURE in run.data.tags:
                    found[run.data.tags[SIGNATURE], run.info.status] = str(run.info.run_id)
            token = page.token
            if not token:
                return found

    def _bring_up(self, mlflow: "MlflowClient", copy: _Copy) -> None:
        """Copy what the trial's folder has and its run lacks."""
        signature = copy.assignment.signature
        with copy.lock:
            copy.stale, outcome, why = False, copy.outcome, copy.why
        # A run that this driver has opened again, as of a failure tried once more, is to be told its end again.
        if outcome and copy.run_id is None and (signature, STATUS[outcome]) in self._whole:
            copy.run_id = self._whole[signature, STATUS[outcome]]
            self._count(copy, outcome, why)
            return
        try:
            if copy.run_id is None:
                self._open_run(mlflow, copy)
            assert copy.run_id is not None
            rows = files.read_epochs(signature)
            _log_epochs(mlflow, copy.run_id, rows[copy.epochs :])
            copy.epochs = max(copy.epochs, len(rows))
            copy.used = _log_usage(mlflow, copy.run_id, usage.read(signature), copy.used)
            if outcome:
                self._settle(mlflow, copy.run_id, signature, outcome, why)
                self._count(copy, outcome, why)
        except BaseException:
            copy.stale, copy.tries = True, copy.tries + 1
            raise

    def _open_run(self, mlflow: "MlflowClient", copy: _Copy) -> None:
        settings, signature = copy.assignment.settings, copy.assignment.signature
        run = self._find(mlflow, SIGNATURE, signature)
        if run is None:
            tags = {**self.search.own_tags, PARENT: str(self.parent_id), SIGNATURE: signature}
            name = f"{settings.network} seed {settings.seed}"
            run = mlflow.create_run(self.experiment_id, tags=tags, run_name=name)
        elif run.info.status != "FINISHED":
            mlflow.update_run(run.info.run_id, status="RUNNING")
        record = settings.to_json()
        self._describe(mlflow, run, flat(record), record)
        history = mlflow.get_metric_history(run.info.run_id, "valid_roc_auc")
        copy.epochs = copy.used = max((metric.step for metric in history), default=0)
        copy.run_id = run.info.run_id

    def _describe(
        self, mlflow: "MlflowClient", run: "Run", params: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        """Say what a run is, unless it has been said. The parameters come last: a run that has them has all."""
        if run.data.params:
            return
        mlflow.log_dict(run.info.run_id, dict(config), "config.json")
        mlflow.log_dict(run.info.run_id, dict(self.search.environment), "environment.json")
        _log_params(mlflow, run.info.run_id, params)

    def _settle(self, mlflow: "MlflowClient", run_id: str, signature: str, outcome: str, why: str) -> None:
        """The end of a trial: scores, tables and weights, then the status, so that FINISHED means all is there."""
        mlflow.set_tag(run_id, "wavezoo.outcome", outcome)
        if outcome == "failed":
            mlflow.set_tag(run_id, "wavezoo.failure", why[:500])
            mlflow.set_tag(run_id, "failure_kind", why.partition(":")[0])
        result = files.read_result(signature) if outcome == "done" else None
        if result and mlflow.get_run(run_id).info.status != "FINISHED":
            _log_result(mlflow, run_id, result)
            folder = files.trial_folder(signature)
            mlflow.log_artifacts(run_id, str(folder / files.CHECKPOINT), files.CHECKPOINT)
            mlflow.log_artifact(run_id, str(folder / files.SCORES))
        mlflow.set_terminated(run_id, STATUS[outcome])

    def _count(self, copy: _Copy, outcome: str, why: str) -> None:
        """The trial has ended: a row of the search's table."""
        signature, settings = copy.assignment.signature, copy.assignment.settings
        rows, result = files.read_epochs(signature), files.read_result(signature)
        self._children[signature] = notes.child(
            str(copy.run_id),
            flat(settings.to_json()),
            outcome,
            why,
            rows,
            result if outcome == "done" else None,
        )

    def _note(self, mlflow: "MlflowClient", last: bool = False) -> None:
        """Bring the note of the search's run up to date, now and then while trials end."""
        since, told = self._noted
        if not last and (time.monotonic() - since < NOTE_SECONDS or told == len(self._children)):
            return
        assert self.parent_id is not None
        about = {**self.search.environment, "question": self.search.question}
        children = list(self._children.values())
        mlflow.set_tag(self.parent_id, NOTE, notes.note(about, children))
        if last:
            mlflow.log_text(self.parent_id, notes.table(children) + "\n", "children.md")
        self._noted = (time.monotonic(), len(children))

    def _end_parent(self, mlflow: "MlflowClient") -> None:
        assert self.parent_id is not None
        self._note(mlflow, last=True)
        mlflow.set_terminated(self.parent_id, "FINISHED" if self._complete else "KILLED")


def _log_params(mlflow: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    mlflow.log_batch(run_id, params=[Param(key, str(value)[:500]) for key, value in params.items()])


def _log_epochs(mlflow: "MlflowClient", run_id: str, rows: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(key, float(row[key]), now, row["epoch"]) for row in rows for key in EPOCH_METRICS]
    for at in range(0, len(metrics), 1000):  # the most that one request may hold
        mlflow.log_batch(run_id, metrics=metrics[at : at + 1000])


def _log_usage(mlflow: "MlflowClient", run_id: str, rows: list[dict[str, Any]], known: int) -> int:
    """What the worker used in each epoch after the known one; MLflow has a page for what starts with `system/`.

    returns: the last epoch that is known now.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [row for row in rows if row["epoch"] > known]
    metrics = [
        Metric(key, float(value), now, row["epoch"])
        for row in rows
        for key, value in row.items()
        if key.startswith("system/")
    ]
    if rows:
        mlflow.set_tag(run_id, "host", rows[-1]["host"])
    for at in range(0, len(metrics), 1000):
        mlflow.log_batch(run_id, metrics=metrics[at : at + 1000])
    return max((row["epoch"] for row in rows), default=known)


def _log_result(mlflow: "MlflowClient", run_id: str, result: dict[str, Any]) -> None:
    """The scores as metrics, the protocol as tags, the tags' own scores as a table."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    numbers = scores.numbers(result)
    tags = [RunTag(f"protocol.{key}", str(value)) for key, value in result["protocol"].items()]
    mlflow.log_batch(
        run_id,
        metrics=[Metric(key, float(value), now, result["epochs"]) for key, value in numbers.items()],
        tags=tags,
    )
    columns = list(result["tags"][0])
    rows = [[tag[key] for key in columns] for tag in result["tags"]]
    # What MlflowClient.log_table writes, which would import pandas for it and add to a table that is there.
    mlflow.log_dict(run_id, {"columns": columns, "data": rows}, "tags.json")
    mlflow.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": "tags.json", "type": "table"}]))


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `training.batch_size`-like keys."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
