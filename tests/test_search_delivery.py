"""What a search says to MLflow: every epoch once, in few requests, whatever the store does meanwhile."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import mlflow.entities  # noqa: F401  (takes seconds, before any patience counts)
import pytest
from mlflow_in_memory import PATIENCE_SECONDS, SEARCH, Store, an_assignment, end, once, report, train

from search import files
from search.outcome import Outcome
from search.recording import tracking
from search.recording.delivering import EPOCH_METRICS, moments
from search.recording.marks import SIGNATURE
from search.recording.search_run import SearchRun
from search.recording.store import client
from search.recording.tracking import Tracker
from search.results.conclusion import lacking
from search.study.assignment import Ended
from search.trials import usage


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what a kill does
@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_driver_that_is_killed_between_two_requests_loses_nothing_of_an_epoch(
    store: Store, requests: int
) -> None:
    one, log_batch, taken = an_assignment(0), store._log_batch, list[str]()

    def until_killed(run_id: str, metrics: Any = (), **more: Any) -> None:
        log_batch(run_id, metrics, **more)
        taken.extend([run_id] if metrics else [])
        if len(taken) == requests:
            store._log_batch = log_batch  # type: ignore[method-assign]
            raise SystemExit  # which ends the thread, and nothing else

    train(one, 400)
    watch = usage.Usage()
    for epoch in range(1, 401):
        watch.note(one.signature, epoch)
    store._log_batch = until_killed  # type: ignore[method-assign]
    for _ in range(2):
        tracker = Tracker("memory", SEARCH)
        tracker.add(Ended(one, Outcome.STOPPED))
        tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS)
    system = {key for key in usage.read(one.signature)[0] if key.startswith("system/")}
    assert store.steps(one) == once(400) | {(key, epoch): 1 for key in system for epoch in range(1, 401)}


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


@pytest.fixture
def uri(mlflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty store of MLflow's own."""
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    return f"sqlite:///{shutil.copy(mlflow_db, tmp_path / 'mlflow.db')}"


def test_what_is_sent_again_because_an_answer_was_lost_is_in_mlflow_once(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = client(uri)
    log_batch, one = mlflow.log_batch, end(an_assignment(0), 0.6)
    folder = files.trial_folder(one.assignment.signature)
    (folder / files.CHECKPOINT).mkdir()
    (folder / files.SCORES).touch()
    usage.Usage().note(one.assignment.signature, 1)
    lost = {"valid_roc_auc", "test_roc_auc"}  # the epochs', and the result's

    def answer(run_id: str, metrics: Any = (), **more: Any) -> None:
        log_batch(run_id, metrics, **more)
        if known := lost & {metric.key for metric in metrics}:
            lost.difference_update(known)
            raise OSError("the connection was cut")

    monkeypatch.setattr(mlflow, "log_batch", answer)
    monkeypatch.setattr(tracking, "client", lambda uri: mlflow)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.01)
    tracker = Tracker(uri, SEARCH)
    tracker.add(one)
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert not lost, "both were sent twice"
    run_id = tracker.run_id(one.assignment.signature)
    assert run_id is not None
    steps = {
        key: [metric.step for metric in mlflow.get_metric_history(run_id, key)]
        for key in mlflow.get_run(run_id).data.metrics
    }
    assert steps.items() >= {key: [1, 2] for key in EPOCH_METRICS}.items()
    assert steps.items() >= {usage.CPU: [1], "test_roc_auc": [1]}.items()
    assert {len(each) for key, each in steps.items() if key not in EPOCH_METRICS} == {1}


def test_epochs_are_stamped_by_the_clock_of_their_training() -> None:
    rows = [{"seconds": 1.5}, {"seconds": 30.0}]
    assert moments(1_000_000, rows) == [1_000_000, 1_001_500, 1_031_500]
    assert moments(1_000_000, []) == [1_000_000]


def test_mlflow_itself_finds_the_runs_by_their_time(uri: str) -> None:
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
