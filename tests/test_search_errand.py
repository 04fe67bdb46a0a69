"""What is done beside a training: one thing at a time, and what goes wrong in it is told to whoever waits."""

import threading

import pytest

from search.trials.errand import Errand

PATIENCE_SECONDS = 60


def test_what_was_begun_is_done_meanwhile_and_before_what_is_begun_next() -> None:
    errand, go_on, done = Errand(), threading.Event(), list[str]()

    def first() -> None:
        assert go_on.wait(PATIENCE_SECONDS)
        done.append("first")

    errand.begin(first)
    assert not done
    go_on.set()
    errand.begin(lambda: done.append("second"))
    assert done[0] == "first"
    errand.close()
    assert done == ["first", "second"]


def test_what_goes_wrong_is_told_once() -> None:
    errand = Errand()
    errand.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        errand.wait()
    errand.wait()
    errand.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        errand.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("errand")]
    errand.close()
