"""What MLflow's client would reach, in memory, and trainings to tell it of."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.entities  # noqa: F401  (takes seconds, before any patience counts)
from benchmarks.instant import result

from search import files
from search.outcome import Outcome
from search.recording.delivering import EPOCH_METRICS
from search.recording.marks import SIGNATURE, STUDY
from search.recording.search_run import SearchRun
from search.recording.tracking import Tracker
from search.settings import Training, TrialSettings
from search.study.assignment import Assignment, Ended

PATIENCE_SECONDS = 60.0


SEARCH = SearchRun("one", "study", {"space": "x"}, {"space": "x"}, {"space": "x"}, {"commit": "none"})


class Page(list):
    """Of a store's answer; there is no next one."""

    token = None


class Store:
    """What MLflow's client would reach, in memory. asked: the requests by name. faults: of the next requests."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.asked: Counter[str] = Counter()
        self.faults: list[Exception | None] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def ask(*given: Any, **named: Any) -> Any:
            self.asked[name] += 1
            if self.faults and (fault := self.faults.pop(0)):
                raise fault
            return getattr(self, f"_{name}", lambda *given, **named: None)(*given, **named)

        return ask

    def _get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1")

    def _search_runs(self, experiments: list[str], wanted: str, **paging: Any) -> Page:
        kind = STUDY if STUDY in wanted else SIGNATURE
        return Page(run for run in self.runs.values() if kind in run.data.tags)

    def _create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(run_id=f"run {len(self.runs)}", status="RUNNING", start_time=1_700_000_000_000)
        data = SimpleNamespace(tags=tags, params={})
        run = SimpleNamespace(info=info, data=data, metrics=[], files=Counter())
        self.runs[info.run_id] = run
        return run

    def _get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def _update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    _set_terminated = _update_run

    def _get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [metric for metric in self.runs[run_id].metrics if metric.key == key]

    def _log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) + len(params) + len(tags) <= 1000, "MLflow takes no more in one request"
        self.runs[run_id].metrics += metrics
        self.runs[run_id].data.params |= {param.key: param.value for param in params}

        self.runs[run_id].data.tags |= {tag.key: tag.value for tag in tags}

    def _set_tag(self, run_id: str, key: str, value: str) -> None:
        if run_id in self.runs:
            self.runs[run_id].data.tags[key] = value

    def _delete_tag(self, run_id: str, key: str) -> None:
        del self.runs[run_id].data.tags[key]

    def _log_dict(self, run_id: str, record: Any, name: str) -> None:
        self.runs[run_id].files[name] += 1

    def _log_artifacts(self, run_id: str, folder: str, name: str) -> None:
        self.runs[run_id].files[name] += 1

    def _log_artifact(self, run_id: str, path: str) -> None:
        self.runs[run_id].files[Path(path).name] += 1

    def of(self, assignment: Assignment) -> Any:
        """The one run of a trial."""
        (run,) = [r for r in self.runs.values() if r.data.tags.get(SIGNATURE) == assignment.signature]
        return run

    def steps(self, assignment: Assignment) -> Counter[tuple[str, int]]:
        """How often each metric of each epoch was delivered to the one run of a trial."""
        return Counter((metric.key, metric.step) for metric in self.of(assignment).metrics)


def an_assignment(seed: int) -> Assignment:
    settings = TrialSettings("samplecnn_m3_n3_s729", {}, Training(), seed, "demo", "f", "c", "t")
    return Assignment(seed, settings)


def train(assignment: Assignment, epochs: int) -> list[dict[str, Any]]:
    """What the trial's folder holds after so many epochs."""
    rows = [{**dict.fromkeys(EPOCH_METRICS, 0.5), "epoch": epoch} for epoch in range(1, epochs + 1)]
    files.write_json(files.trial_folder(assignment.signature) / files.EPOCHS, rows)
    return rows


def once(epochs: int) -> dict[tuple[str, int], int]:
    return {(key, epoch): 1 for epoch in range(1, epochs + 1) for key in EPOCH_METRICS}


def report(tracker: Tracker, assignment: Assignment, epochs: int) -> None:
    tracker.started(assignment)
    for row in train(assignment, epochs):
        tracker.epoch(assignment, row)


def end(assignment: Assignment, score: float, epochs: int = 2) -> Ended:
    """The trial's folder as a training leaves it that came to this score."""
    train(assignment, epochs)
    files.write_json(
        files.trial_folder(assignment.signature) / files.RESULT, result(assignment.signature, score)
    )
    return Ended(assignment, Outcome.DONE)
