"""What a search says to MLflow: every epoch once, in few requests, whatever the store does meanwhile."""

import json
import shutil
import threading
from pathlib import Path

import mlflow.entities  # noqa: F401  (takes seconds, before any patience counts)
import pytest
from mlflow_in_memory import PATIENCE_SECONDS, SEARCH, Store, an_assignment, end, once, report

from search.outcome import Outcome
from search.recording import tracking
from search.recording.marks import SIGNATURE
from search.recording.search_run import SearchRun
from search.recording.store import client
from search.recording.tracking import Tracker
from search.results.conclusion import lacking
from search.study.assignment import Ended


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    store = Store()
    monkeypatch.setattr(tracking, "client", lambda uri: store)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.01)
    return store


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
        tracker.ended(each, Outcome.STOPPED, "")
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert store.faults == []
    for each in assignments:
        assert store.steps(each).keys() == once(2).keys()


def test_the_next_driver_goes_on_with_the_runs_of_the_one_before(store: Store) -> None:
    left, ended = an_assignment(0), an_assignment(1)
    first = Tracker("memory", SEARCH)
    for each in (left, ended):
        report(first, each, 2)
    first.ended(ended, Outcome.STOPPED, "")
    first.close(complete=False, patience_seconds=PATIENCE_SECONDS)
    runs, asked = set(store.runs), store.asked["set_terminated"]
    second = Tracker("memory", SEARCH)
    second.add(Ended(ended, Outcome.STOPPED))
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
    tracker.ended(one, Outcome.STOPPED, "")
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert tracker._copies == {}
    assert store.runs[tracker.run_id(one.signature)].info.status == "KILLED"
    tracker.add(Ended(one, Outcome.STOPPED))
    assert tracker._copies == {}


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
