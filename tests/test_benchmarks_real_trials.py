"""What a search costs beside real trainings is told from the ends of the same trainings, in it and in a plain loop."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import real_trials
from benchmarks.plain_loop import trained
from benchmarks.real_trials import Cost, Ends, Moment, apart, between

from search.outcome import Outcome
from search.planning.capacity import Room
from search.planning.job import Job
from search.study.assignment import Assignment
from search.trials.trial import Trial

ROOM = Room(1, 0.0, 2, 0)


@pytest.fixture
def job(fresh_home: Path) -> Job:
    """Four trainings of an epoch each."""
    return real_trials._job("samplecnn_m3_n3_s729", epochs=1, seeds=4, seed=7)


def test_a_job_is_so_many_trainings_of_so_many_epochs(job: Job) -> None:
    trials = [work.trial for work in job.grid()]
    assert [each.seed for each in trials] == [7, 8, 9, 10]
    assert {each.training.planned_epochs for each in trials} == {1}
    assert {work.segments_per_epoch for work in job.grid()} == {job.data.segments("train", 19_683)}


def test_a_loop_trains_what_a_search_would(job: Job) -> None:
    cost = real_trials._in_a_loop(job, at_once=2)
    assert min(cost.wall, cost.core) > 0
    settings = job.grid()[0].trial
    with Trial(settings, "cpu", {}) as trial:
        result = trial.advance()["result"]
    assert trained(settings) == result["test"]["roc_auc"]


def test_a_loop_and_a_search_take_turns_in_being_first(
    monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    ways: list[str] = []
    monkeypatch.setattr(real_trials, "_in_a_loop", lambda job, at_once: ways.append("loop") or Cost(1.0, 1.0))
    monkeypatch.setattr(
        real_trials, "_in_a_search", lambda job, room: ways.append("search") or Cost(1.0, 1.0)
    )
    real_trials._compared("samplecnn_m3_n3_s729", 2, 1, 3, ROOM, lambda line: None)
    assert ways == ["loop", "search", "search", "loop", "loop", "search"]


def test_a_loop_that_ends_is_told(job: Job) -> None:
    with real_trials._loop([job.grid()[0].trial]) as loop:
        real_trials._say_to(loop, "go")
        with pytest.raises(RuntimeError, match="a plain loop ended; what it said is above"):
            real_trials._of_loop(loop, trainings=2)


def test_the_first_ends_do_not_count_as_workers_start_for_them() -> None:
    ends = Ends([Moment(9.0, 4.0), Moment(10.0, 5.0), Moment(12.0, 6.5), Moment(13.0, 8.0)])
    assert ends.cost(at_once=2) == Cost(wall=3.0, core=1.5)
    assert between(Moment(0.0, 0.0), Moment(6.0, 3.0), trainings=3) == Cost(2.0, 1.0)


def test_a_trial_that_ends_otherwise_is_no_measurement(job: Job) -> None:
    assignment = Assignment(0, job.grid()[0].trial)
    with pytest.raises(RuntimeError, match="a trial ended otherwise: diverged: the loss is nan"):
        Ends().ended(assignment, Outcome.FAILED, "diverged: the loss is nan")


def test_what_an_epoch_costs_follows_from_trials_of_two_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_trials, "EPOCHS", (2, 12))
    an_epoch, a_trial = apart(few=Cost(0.5, 1.0), many=Cost(1.5, 4.0))
    assert (an_epoch.wall, a_trial.wall) == pytest.approx((0.1, 0.3))
    assert (an_epoch.core, a_trial.core) == pytest.approx((0.3, 0.4))


def test_a_row_tells_what_the_search_takes_more(monkeypatch: pytest.MonkeyPatch, fresh_home: Path) -> None:
    loops, searches = [Cost(2.0, 1.0)] * 3, iter([Cost(2.5, 1.5), Cost(2.2, 1.1), Cost(9.0, 9.0)])
    monkeypatch.setattr(real_trials, "_in_a_loop", lambda job, at_once: loops[0])
    monkeypatch.setattr(real_trials, "_in_a_search", lambda job, room: next(searches))
    said: list[str] = []
    more = real_trials._compared("samplecnn_m3_n3_s729", 2, 1, 3, ROOM, said.append)
    assert (more.wall, more.core) == pytest.approx((0.5, 0.5))
    assert said == ["| 2 | 2.00 | 2.50 | 0.50 | 25.0% | 0.50 |"]


def test_processor_time_is_counted_with_that_of_what_was_begun() -> None:
    """In a process of its own, beside which none of another test ends."""
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    counting = (
        "import os, subprocess, sys\n"
        "from tests.benchmarks.real_trials import core_seconds\n"
        "before = core_seconds(os.getpid())\n"
        f"subprocess.run([sys.executable, '-c', {busy!r}], check=True)\n"
        "print(core_seconds(os.getpid()) - before)"
    )
    told = subprocess.run(
        [sys.executable, "-c", counting], cwd=real_trials.ROOT, capture_output=True, text=True, check=True
    )
    assert float(told.stdout) >= 0.25
