"""What a search says to MLflow: every epoch once, in few requests, whatever the store does meanwhile."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.entities  # noqa: F401  (takes seconds, before any patience counts)
import pytest
from benchmarks.instant import result

from search import files, tracking
from search.conclusion import lacking
from search.deciding import Assignment, Ended
from search.delivering import EPOCH_METRICS
from search.settings import Training, TrialSettings, digest
from search.told import REPLACED, RESULT
from search.tracking import SIGNATURE, STUDY, SearchRun, Tracker, client

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
        info = SimpleNamespace(run_id=f"run {len(self.runs)}", status="RUNNING")
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


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    store = Store()
    monkeypatch.setattr(tracking, "client", lambda uri: store)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.01)
    return store


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


def test_every_epoch_is_delivered_once_and_a_run_costs_two_requests_to_open(store: Store) -> None:
    assignments = [an_assignment(seed) for seed in range(20)]
    tracker = Tracker("memory", SEARCH)
    for each in assignments:
        report(tracker, each, 5)
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    for each in assignments:
        assert store.steps(each) == once(5)
    assert store.asked["create_run"] == 21
    assert store.asked["log_batch"] >= 21
    assert store.asked["get_metric_history"] == store.asked["get_run"] == 0
    assert {run.info.status for run in store.runs.values()} == {"RUNNING", "FINISHED"}
    assert all(run.files == {"config.json": 1, "environment.json": 1} for run in store.runs.values())
    assert all(run.data.params for run in store.runs.values())


def test_more_epochs_than_a_request_may_hold_are_delivered_in_several(store: Store) -> None:
    one, tracker = an_assignment(0), Tracker("memory", SEARCH)
    report(tracker, one, 400)
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert store.steps(one) == once(400)


def test_what_a_store_refuses_is_delivered_later(store: Store) -> None:
    store.faults = [
        OSError("away"),
        None,
        OSError("away"),
        None,
        None,
        None,
        OSError("away"),
        OSError("away"),
    ]
    assignments = [an_assignment(seed) for seed in range(3)]
    tracker = Tracker("memory", SEARCH)
    for each in assignments:
        report(tracker, each, 2)
        tracker.ended(each, "stopped", "")
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert store.faults == []
    for each in assignments:
        assert store.steps(each).keys() == once(2).keys()


def test_the_next_driver_goes_on_with_the_runs_of_the_one_before(store: Store) -> None:
    left, ended = an_assignment(0), an_assignment(1)
    first = Tracker("memory", SEARCH)
    for each in (left, ended):
        report(first, each, 2)
    first.ended(ended, "stopped", "")
    first.close(complete=False, patience_seconds=PATIENCE_SECONDS)
    runs, asked = set(store.runs), store.asked["set_terminated"]
    second = Tracker("memory", SEARCH)
    second.add(Ended(ended, "stopped"))
    report(second, left, 4)
    assert second.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, second.trouble
    assert set(store.runs) == runs
    assert store.steps(left) == once(4)
    assert store.asked["set_terminated"] == asked + 1  # of the search itself: the trial's end was there
    assert second.run_id(ended.signature) in runs


def test_a_run_that_another_search_has_started_meanwhile_is_taken(store: Store) -> None:
    one, other = an_assignment(0), an_assignment(1)
    first = Tracker("memory", SEARCH)
    report(first, one, 1)
    second = Tracker("memory", SEARCH)
    report(second, other, 1)
    assert second.close(complete=False, patience_seconds=PATIENCE_SECONDS) == 0, second.trouble
    report(first, other, 3)
    assert first.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, first.trouble
    assert store.steps(other) == once(3)


def test_what_is_copied_to_its_end_is_held_no_longer(store: Store) -> None:
    one, tracker = an_assignment(0), Tracker("memory", SEARCH)
    report(tracker, one, 1)
    tracker.ended(one, "stopped", "")
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert tracker._copies == {}
    assert store.runs[tracker.run_id(one.signature)].info.status == "KILLED"
    tracker.add(Ended(one, "stopped"))
    assert tracker._copies == {}


def deliver(*settled: Ended, complete: bool = True) -> Tracker:
    """What a driver does that finds these trials ended."""
    tracker = Tracker("memory", SEARCH)
    for each in settled:
        tracker.add(each)
    assert tracker.close(complete, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    return tracker


def end(assignment: Assignment, score: float, epochs: int = 2) -> Ended:
    """The trial's folder as a training leaves it that came to this score."""
    train(assignment, epochs)
    files.write_json(
        files.trial_folder(assignment.signature) / files.RESULT, result(assignment.signature, score)
    )
    return Ended(assignment, "done")


def scores_of(run: Any) -> set[float]:
    return {metric.value for metric in run.metrics if metric.key == "test_roc_auc"}


WHOLE = {"config.json": 1, "environment.json": 1, "tags.json": 1, files.CHECKPOINT: 1, files.SCORES: 1}


def test_what_is_told_whole_is_told_once(store: Store) -> None:
    ended = end(an_assignment(0), 0.6)
    deliver(ended)
    asked = store.asked["log_batch"]
    tracker = deliver(ended)
    assert store.asked["log_batch"] == asked
    assert store.of(ended.assignment).files == WHOLE
    assert tracker.run_id(ended.assignment.signature) == store.of(ended.assignment).info.run_id


@pytest.mark.parametrize("lost", ["the status", "the digest"])
def test_a_run_whose_end_was_cut_off_is_brought_to_it(store: Store, lost: str) -> None:
    ended = end(an_assignment(0), 0.6)
    deliver(ended)
    run = store.of(ended.assignment)
    if lost == "the status":
        run.info.status = "RUNNING"
    else:  # as a release before this one left it, or a driver that had no folder to take the files from
        del run.data.tags[RESULT]
        run.files.clear()
    tracker = deliver(ended)
    assert store.of(ended.assignment) is run
    assert (run.info.status, run.files[files.CHECKPOINT]) == ("FINISHED", 2 if lost == "the status" else 1)
    assert run.data.tags[RESULT] == digest(files.read_result(ended.assignment.signature))
    assert tracker.run_id(ended.assignment.signature) == run.info.run_id


def test_a_trial_that_was_trained_again_has_a_run_of_its_new_numbers(store: Store) -> None:
    one = an_assignment(0)
    deliver(end(one, 0.6, epochs=3))
    old = store.of(one)
    tracker = Tracker("memory", SEARCH)
    tracker.started(one)  # its folder was taken away
    again = end(one, 0.7, epochs=2)
    tracker.ended(one, "done", "")
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    new = store.of(one)
    assert (scores_of(old), scores_of(new)) == ({0.6}, {0.7})
    assert new.files == WHOLE
    assert once(2).items() <= store.steps(one).items()
    assert (SIGNATURE in old.data.tags, old.data.tags[REPLACED]) == (False, one.signature)
    assert tracker.run_id(one.signature) == new.info.run_id
    runs = len(store.runs)
    deliver(again)
    assert len(store.runs) == runs


def test_a_run_of_an_earlier_training_is_left_alone_until_the_new_one_has_ended(store: Store) -> None:
    one = an_assignment(0)
    deliver(end(one, 0.6))
    (files.trial_folder(one.signature) / files.RESULT).unlink()
    tracker = Tracker("memory", SEARCH)
    report(tracker, one, 1)
    assert tracker.close(complete=False, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    run = store.of(one)
    assert (run.info.status, scores_of(run), run.files) == ("FINISHED", {0.6}, WHOLE)


def test_an_old_run_is_set_aside_once_whatever_answers_are_lost(store: Store) -> None:
    one = an_assignment(0)
    deliver(end(one, 0.6))
    old = store.of(one)
    delete, lost = store._delete_tag, [OSError("the answer was lost")]

    def delete_and_hang_up(run_id: str, key: str) -> None:
        delete(run_id, key)
        if lost:
            raise lost.pop()

    store._delete_tag = delete_and_hang_up  # type: ignore[method-assign]
    deliver(end(one, 0.7))
    assert not lost
    assert (scores_of(old), scores_of(store.of(one))) == ({0.6}, {0.7})


def test_a_trial_whose_folder_is_elsewhere_makes_no_finished_run_and_is_told_later(store: Store) -> None:
    one, ended = an_assignment(0), Ended(an_assignment(0), "done")
    tracker = deliver(ended)
    assert tracker.lacking == {one.signature: one}
    assert tracker.run_id(one.signature) is None
    assert not [run for run in store.runs.values() if SIGNATURE in run.data.tags]
    (line,) = lacking(list(tracker.lacking.values()))
    assert line.startswith(f"not told to MLflow: samplecnn_m3_n3_s729 seed 0 ({one.signature}): the ledger")
    assert line.endswith(
        f"their folders are not in {files.home() / 'trials'}; the same command tells it where they are "
        f"(WAVEZOO_HOME, cluster.storage)"
    )
    end(one, 0.6)  # the folder has come
    tracker = deliver(ended)
    assert not tracker.lacking
    assert store.of(one).files == WHOLE
    (files.trial_folder(one.signature) / files.RESULT).unlink()  # and gone: MLflow has it all
    tracker = deliver(ended)
    assert not tracker.lacking
    assert tracker.run_id(one.signature) == store.of(one).info.run_id


def test_what_is_told_at_the_end_is_counted_while_one_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PROGRESS_SECONDS", 0.01)
    told, said = threading.Event(), list[str]()

    def listen(line: str) -> None:
        said.append(line)
        told.set()

    create = store._create_run
    store._create_run = lambda *given, **named: told.wait(60) and create(*given, **named)  # type: ignore[method-assign]
    tracker = Tracker("memory", SEARCH)
    for seed in range(3):
        tracker.add(end(an_assignment(seed), 0.6))
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS, tell=listen) == 0
    assert said[0] == "telling MLflow: 0 of 3 runs"


def test_trouble_that_is_over_is_told_no_longer(store: Store) -> None:
    tracker, seen = Tracker("memory", SEARCH), list[str | None]()
    tracker.trouble = "MLflow at memory: away"
    store._log_artifact = lambda *given: seen.append(tracker.trouble)  # type: ignore[method-assign]
    for seed in range(2):
        tracker.add(end(an_assignment(seed), 0.6))
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0
    assert seen == ["MLflow at memory: away", None]  # the second is told when the first has been taken
    assert tracker.trouble is None


def test_many_trials_that_can_not_be_told_are_one_line() -> None:
    (line,) = lacking([an_assignment(seed) for seed in range(5)])
    assert "samplecnn_m3_n3_s729 seed 2 (" in line
    assert ") and 2 more: the ledger calls them done" in line
    assert lacking([]) == []


def test_mlflow_itself_finds_the_runs_by_their_time(
    mlflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    uri = f"sqlite:///{shutil.copy(mlflow_db, tmp_path / 'mlflow.db')}"
    one, other = an_assignment(0), an_assignment(1)
    for epochs, name in ((1, "first"), (3, "second")):
        search = SearchRun("one", name, {"space": "x"}, {}, {"space": "x"}, {"commit": "none"})
        tracker = Tracker(uri, search)
        report(tracker, one, epochs)
        assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    report(tracker := Tracker(uri, SEARCH), other, 1)
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("one").experiment_id
    runs = {run.data.tags.get(SIGNATURE): run for run in mlflow.search_runs([experiment])}
    assert runs.keys() == {None, one.signature, other.signature}
    history = mlflow.get_metric_history(runs[one.signature].info.run_id, "valid_roc_auc")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert json.loads(runs[one.signature].data.params["seed"]) == 0
