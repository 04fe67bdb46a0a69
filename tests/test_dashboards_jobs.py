"""Jobs: one at a time, few waiting, and whatever becomes of one, what it held is let go."""

import threading
from collections.abc import Iterator

import pytest

from dashboards.jobs import FAULT, BusyError, Job, Jobs, Tell
from zoo import ZooError

PATIENCE_SECONDS = 20


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs("test", most_waiting=2, most_kept=2)
    yield jobs
    jobs.close()


class Gate:
    """Work that begins, tells, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.let_go = threading.Event(), threading.Event(), threading.Event()

    def work(self, tell: Tell) -> str:
        tell(1, 4)
        self.begun.set()
        assert self.may_end.wait(PATIENCE_SECONDS)
        tell(4, 4)
        return "outcome"


def ended(jobs: Jobs, job: Job) -> Job:
    """The job once it has ended: a later one ends after it."""
    later = Gate()
    jobs.submit("later", lambda tell: None, later.let_go.set)
    assert later.let_go.wait(PATIENCE_SECONDS)
    assert job.ended
    return job


def test_a_job_tells_how_far_it_is_and_then_what_came_of_it(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.submit("a", gate.work, gate.let_go.set)
    assert gate.begun.wait(PATIENCE_SECONDS)
    assert (job.state, job.done, job.of) == ("running", 1, 4)
    gate.may_end.set()
    assert (ended(jobs, job).state, job.result, job.done) == ("done", "outcome", 4)
    assert gate.let_go.is_set()
    assert jobs.find("a") is job


def test_the_same_key_is_the_same_job_while_it_runs(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.submit("a", gate.work)
    assert jobs.submit("a", lambda tell: "another") is job
    gate.may_end.set()
    ended(jobs, job)
    assert jobs.submit("a", lambda tell: "another") is not job


def test_one_runs_and_no_more_wait_than_may(jobs: Jobs) -> None:
    gate = Gate()
    jobs.submit("a", gate.work)
    assert gate.begun.wait(PATIENCE_SECONDS)
    second, third = jobs.submit("b", lambda tell: 2), jobs.submit("c", lambda tell: 3)
    assert (second.state, jobs.before(second), jobs.before(third)) == ("waiting", 1, 2)
    with pytest.raises(BusyError, match="2 others are waiting already; try again when they are done"):
        jobs.submit("d", lambda tell: 4)
    gate.may_end.set()


def test_a_job_that_fails_says_why_in_one_line_and_the_next_one_runs(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(tell: Tell) -> None:
        raise ZooError("no such layer")

    def broken(tell: Tell) -> None:
        raise RuntimeError("secret")

    first, second = (ended(jobs, jobs.submit(key, work)) for key, work in (("a", refused), ("b", broken)))
    assert (first.state, first.why) == ("failed", "no such layer")
    assert (second.state, second.why) == ("failed", FAULT)
    assert "secret" in capsys.readouterr().err
    assert ended(jobs, jobs.submit("c", lambda tell: 3)).result == 3


def test_what_nobody_wants_any_more_ends_at_its_next_word(jobs: Jobs) -> None:
    gate, waiting = Gate(), Gate()
    job = jobs.submit("a", gate.work, gate.let_go.set)
    jobs.submit("b", waiting.work, waiting.let_go.set)
    assert gate.begun.wait(PATIENCE_SECONDS)
    jobs.drop("b")
    assert waiting.let_go.is_set()
    jobs.drop("a")
    gate.may_end.set()
    assert gate.let_go.wait(PATIENCE_SECONDS)
    assert (ended(jobs, job).state, jobs.find("a"), job.result) == ("failed", None, None)
    assert not waiting.begun.is_set()


def test_only_the_last_outcomes_are_kept(jobs: Jobs) -> None:
    for key in "abc":
        ended(jobs, jobs.submit(key, lambda tell: None))
    assert jobs.find("a") is None
    assert jobs.find("c") is not None


def test_when_all_ends_nothing_runs_and_everything_is_let_go() -> None:
    jobs, gate, waiting = Jobs("test", 2, 2), Gate(), Gate()
    jobs.submit("a", gate.work, gate.let_go.set)
    jobs.submit("b", waiting.work, waiting.let_go.set)
    assert gate.begun.wait(PATIENCE_SECONDS)
    gate.may_end.set()
    jobs.close()
    assert gate.let_go.is_set()
    assert waiting.let_go.is_set()
    assert not waiting.begun.is_set()
    with pytest.raises(BusyError):
        jobs.submit("c", waiting.work)
