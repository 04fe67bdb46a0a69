"""Asking a search to end: once and gently, twice at once, and never for longer than it was said. No Ray here."""

import signal
import threading
from collections.abc import Iterator

import pytest

from search.failures import EndNow
from search.running import halting
from search.running.halting import Halt, Leave, Look


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the trials have been asked; Ray's store is not there to be told."""
    event = threading.Event()
    monkeypatch.setattr(halting.internal_kv, "_internal_kv_put", lambda *key, **where: event.set())
    monkeypatch.setattr(halting, "_key", lambda: "pause:test")
    return event


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def halt(told: list[str]) -> Iterator[Halt]:
    halt = Halt(told.append)
    yield halt
    halt._over.set()


def test_ctrl_c_asks_the_trials_and_ctrl_c_again_leaves_at_once(
    halt: Halt, asked: threading.Event, told: list[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with halt.listening():
        signal.raise_signal(signal.SIGINT)
        assert asked.wait(10)
        assert type(halt.error) is KeyboardInterrupt
        with pytest.raises(Leave):
            signal.raise_signal(signal.SIGINT)
        assert isinstance(halt.error, EndNow)
    assert told == [
        "interrupted: the trials that run save where they are, for 60 seconds at most; Ctrl-C again ends at once"
    ]
    assert signal.getsignal(signal.SIGINT) is before


def test_who_asks_first_counts_and_ctrl_c_then_ends_at_once(
    halt: Halt, asked: threading.Event, told: list[str]
) -> None:
    trouble = ValueError("no data")
    with halt.listening():
        halt.ask(trouble, "no data")
        halt.ask(ValueError("no disk"), "no disk")
        assert asked.wait(10)
        assert halt.error is trouble
        with pytest.raises(Leave):
            signal.raise_signal(signal.SIGINT)
    assert told == [
        "no data: the trials that run save where they are, for 60 seconds at most; Ctrl-C ends at once"
    ]


def test_trials_that_take_too_long_to_save_are_left(
    halt: Halt, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halting, "PAUSE_SECONDS", 0.01)
    trouble = ValueError("no data")
    with halt.listening():
        halt.ask(trouble, "no data")
        with pytest.raises(Leave):
            threading.Event().wait(60)
    assert halt.error is trouble, "what ended the search is no longer known"


def test_a_search_that_has_ended_is_not_interrupted_afterwards(
    halt: Halt, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halting.signal, "pthread_kill", pytest.fail)
    with halt.listening():
        halt.ask(ValueError("no data"), "no data")
        assert asked.wait(10)
    for thread in threading.enumerate():
        if thread.name == "pause":
            thread.join(10)
            assert not thread.is_alive()


def test_a_trial_looks_now_and_then_and_knows_once_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, looks = iter([False, True]), []
    monkeypatch.setattr(halting, "_asked", lambda: looks.append(1) or next(answers))
    look = Look()
    assert [look() for _ in range(1000)] == [False] * 1000
    assert len(looks) == 1, "Ray was asked at every batch"
    look._next = 0.0
    assert look()
    assert look()
    assert len(looks) == 2


def test_a_trial_without_ray_is_never_halted() -> None:
    assert not Look()()
