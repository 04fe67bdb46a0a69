"""Ctrl-C that Python drops, as it does where a weak reference's callback runs just then."""

import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search import ctrl_c, run, spaces
from search.running import halting


class Thing:
    """Something that can be referred to weakly."""


@pytest.fixture
def typed_and_lost(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Types Ctrl-C where nobody hears it."""
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    def type_it() -> None:
        thing = Thing()
        reference = weakref.ref(thing, lambda gone: signal.raise_signal(signal.SIGINT))
        del thing
        assert reference() is None
        assert lost[-1].exc_type is KeyboardInterrupt

    return type_it


def test_what_was_lost_is_raised_at_the_next_check(typed_and_lost: Callable[[], None]) -> None:
    with ctrl_c.remembered():
        ctrl_c.check()
        typed_and_lost()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not ctrl_c.was_typed()
    with ctrl_c.remembered():
        ctrl_c.check()  # another command


def test_one_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c.remembered():
            signal.raise_signal(signal.SIGINT)
            assert not ctrl_c.was_typed()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_search_ends_although_its_ctrl_c_was_lost(
    fresh_home: Path,
    typed_and_lost: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load = spaces.load

    def loaded(name: str) -> spaces.Space:
        typed_and_lost()
        return load(name)

    monkeypatch.setattr(spaces, "load", loaded)
    assert run.main(["space=smoke", "dataset=demo", "budget=small"]) == 130
    assert "interrupted; nothing that was finished is lost. To go on: " in capsys.readouterr().err
    assert not (fresh_home / "studies.db").exists()


def test_one_that_was_lost_just_before_trials_run_asks_them_to_save(
    typed_and_lost: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    halt, asked = halting.Halt(print), []
    monkeypatch.setattr(halt, "ask", lambda error, why: asked.append((type(error), why)))
    with ctrl_c.remembered():
        typed_and_lost()
        with halt.listening():
            assert asked == [(KeyboardInterrupt, "interrupted")]
