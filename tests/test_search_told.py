"""A trial is told to MLflow once and whole, whoever trains it anew or has its folder."""

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow.entities  # noqa: F401  (takes seconds, before any patience counts)
import pytest
from benchmarks.instant import result
from hands import a_job
from mlflow_in_memory import PATIENCE_SECONDS, SEARCH, Store, an_assignment, end, once, report
from proposals import a_decider
from rich.console import Console

from search import files
from search import run as search_run
from search.outcome import Outcome
from search.recording import tracking
from search.recording.marks import REPLACED, RESULT, SIGNATURE
from search.recording.search_run import SearchRun
from search.recording.tracking import Tracker
from search.results import conclusion
from search.results.conclusion import lacking
from search.settings import digest
from search.study.assignment import Assignment, Ended


@pytest.fixture
def store(memory: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """What stands for MLflow, beside an empty home without data."""
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    return memory


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(tracking, "client", lambda uri: store)
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.01)
    return store


def deliver(*settled: Ended, complete: bool = True) -> Tracker:
    """What a driver does that finds these trials ended."""
    tracker = Tracker("memory", SEARCH)
    for each in settled:
        tracker.add(each)
    assert tracker.close(complete, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    return tracker


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
    tracker.ended(one, Outcome.DONE, "")
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


def left_by_a_bigger_command(outcome: Outcome | None) -> Assignment:
    """A trial that `seeds=2` has begun when its driver goes; those of the first seed have ended.

    outcome: what it was told of it; None as by a driver that is killed.
    """
    bigger = a_decider("space=smoke", "seeds=2")
    while (left := bigger.next()) and left.settings.seed == 0:
        end(left, 0.6)
        bigger.finish(left.number, result(left.signature, 0.6))
    assert left is not None
    tracker = Tracker("memory", SearchRun.of(bigger.job))
    report(tracker, left, 1)
    if outcome:
        tracker.ended(left, outcome, "")
    assert tracker.close(complete=False, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    return left


def smaller_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `seeds=1` finds trained already; nothing is shown."""
    monkeypatch.setattr(conclusion, "show", lambda *given: [])
    monkeypatch.setattr(conclusion, "conclude", lambda *given: 0)
    console = Console(file=io.StringIO())
    assert search_run._search(a_job("space=smoke"), console, time.monotonic()) == 0


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(("outcome", "status"), [(None, "RUNNING"), (Outcome.PAUSED, "SCHEDULED")])
def test_the_run_of_a_trial_that_a_smaller_command_does_not_want_ends_with_the_search(
    memory: Store, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None, status: str
) -> None:
    left = left_by_a_bigger_command(outcome)
    assert memory.of(left).info.status == status
    memory.faults = [None, None, OSError("away")]
    smaller_command(monkeypatch)
    assert memory.of(left).info.status == "KILLED"
    assert Counter(run.info.status for run in memory.runs.values()) == {"FINISHED": 5, "KILLED": 1}
    tracker = Tracker("memory", SEARCH)
    report(tracker, left, 2)  # it is wanted again
    tracker.give_up([left.signature])
    assert tracker.close(complete=False, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert memory.of(left).info.status == "RUNNING"


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_that_is_given_up_here_and_was_trained_by_another_search_stays_finished(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_by_a_bigger_command(None)
    deliver(end(left, 0.6))
    smaller_command(monkeypatch)
    assert memory.of(left).info.status == "FINISHED"


def test_a_trial_that_was_given_up_before_it_had_a_run_gets_none(store: Store) -> None:
    tracker = Tracker("memory", SEARCH)
    tracker.give_up([an_assignment(0).signature])
    assert tracker.close(complete=True, patience_seconds=PATIENCE_SECONDS) == 0, tracker.trouble
    assert [run.info.status for run in store.runs.values()] == ["FINISHED"], "the search's own"


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
    one, ended = an_assignment(0), Ended(an_assignment(0), Outcome.DONE)
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
