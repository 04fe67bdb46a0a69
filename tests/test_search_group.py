"""Several trials in one process: each is, in its folder and in its rows, the trial that it would be alone."""

# ruff: noqa: F811 (a fixture is asked for by the name under which it is imported)

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import (  # noqa: F401
    MORE,
    NETWORK,
    OF_ONE_LENGTH,
    SMALL,
    Alone,
    a_process,
    alone,
    few_clips,
    halted_after,
    left_behind,
    of,
    rest,
    settings,
    steps,
    three_batches_of,
)

from search import files
from search.running import halting
from search.trials import usage
from search.trials.training import Fit
from search.trials.trial import Trial


def test_trials_together_leave_behind_what_each_leaves_alone(
    alone: Alone, steps: list[int], fresh_home: Path
) -> None:
    trials = [
        settings(1),
        settings(2, replace(SMALL, learning_rates=(0.1, 0.02, 0.01)), dropout=0.2),
        settings(3, replace(SMALL, optimizer="adam", learning_rates=(0.001,), weight_decay=0.01)),
    ]
    wanted = alone(trials)
    steps.clear()
    rows = rest(a_process(trials))
    assert steps == [3] * 3 + [2] * 3 + [1] * 3
    assert [(row["place"], row["epoch"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (1, 3)]
    assert [row["last"] for row in rows] == [False, False, True, True, False, True]
    assert left_behind(fresh_home, trials) == wanted
    notes = [usage.read(each.signature()) for each in trials]
    assert [[note["epoch"] for note in each] for each in notes] == [[1, 2], [1, 2, 3], [1]]
    assert notes[0][0] == notes[1][0] == notes[2][0], (
        "it was noted for one what the others had left of the machine"
    )


def test_trials_of_other_networks_together_leave_behind_what_each_leaves_alone(
    alone: Alone, steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1, three_batches_of(name), name) for name in OF_ONE_LENGTH]
    wanted = alone(trials)
    steps.clear()
    rest(a_process(trials))
    assert set(steps) == {3}
    assert left_behind(fresh_home, trials) == wanted


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("other", OF_ONE_LENGTH[:2])
def test_trials_together_have_one_copy_of_the_music(other: str) -> None:
    process = a_process([settings(1), settings(2, three_batches_of(other), other, dropout=0.1)])
    process.step()
    assert process.group is not None
    first, second = (trial.fit for trial in process.group.trials.values())
    assert (first.train.split, first.valid.split) == (second.train.split, second.valid.split)
    assert first.network is not second.network
    assert [fit.train.entry.name for fit in (first, second)] == [NETWORK, other]
    process.cleanup()


@pytest.mark.usefixtures("fresh_home")
def test_one_that_diverges_fails_and_the_others_go_on() -> None:
    trials = [settings(1), settings(2, replace(SMALL, learning_rates=(1e30,))), settings(3)]
    rows = rest(a_process(trials))
    assert [row["failure"]["kind"] for row in of(rows, 1)] == ["diverged"]
    for place in (0, 2):
        assert [row["epoch"] for row in of(rows, place)] == [1, 2]
        assert "result" in of(rows, place)[-1]
    assert files.read_result(trials[1].signature()) is None


def test_one_that_is_left_out_trains_no_epoch_more(
    alone: Alone, steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1, MORE), settings(2, MORE)]
    wanted = alone(trials[1:])
    left_out: set[str] = set()
    monkeypatch.setattr(halting, "is_left_out", left_out.__contains__)
    process = a_process(trials)
    rows = [process.step() for _ in trials]
    left_out.add(trials[0].signature())
    rows += rest(process)
    assert [row["epoch"] for row in of(rows, 0)] == [1]
    assert left_behind(fresh_home, trials[1:]) == wanted
    # Its folder is free, and it could go on where it is.
    with Trial(trials[0], "cpu", {}) as trial:
        assert trial.advance()["epoch"] == 2


@pytest.mark.usefixtures("fresh_home")
def test_when_all_are_left_out_the_process_says_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halting, "is_left_out", lambda signature: True)
    (row,) = rest(a_process([settings(1), settings(2)]))
    assert {"epoch", "failure", "result"}.isdisjoint(row)


def test_what_goes_wrong_in_one_is_its_own_failure(
    alone: Alone, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2), settings(3)]
    wanted = alone([trials[0], trials[2]])
    gradients = Fit.gradients

    def broken(fit: Fit, *given: Any) -> Any:
        return [][1] if fit.seed == 2 else gradients(fit, *given)

    monkeypatch.setattr(Fit, "gradients", broken)
    rows = rest(a_process(trials))
    (failed,) = of(rows, 1)
    assert failed["failure"]["why"].startswith("IndexError: list index out of range (more in ")
    assert left_behind(fresh_home, [trials[0], trials[2]]) == wanted


def test_one_that_has_its_result_already_tells_it_and_trains_nothing(
    steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1), settings(2), settings(3)]
    rest(a_process(trials[1:2]))
    there = left_behind(fresh_home, trials[1:2])
    steps.clear()
    rows = rest(a_process(trials))
    assert [row["result"]["signature"] for row in of(rows, 1)] == [trials[1].signature()]
    assert steps == [2] * 6
    assert left_behind(fresh_home, trials[1:2]) == there


def test_one_that_is_in_the_middle_of_an_epoch_ends_it_alone_and_then_joins(
    alone: Alone, steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1, MORE), settings(2, MORE)]
    wanted = alone(trials)
    with monkeypatch.context() as patch:
        patch.setattr(halting, "Look", halted_after(3))
        assert rest(a_process(trials[1:]))[-1]["paused"]
    steps.clear()
    rows = rest(a_process(trials))
    assert [(row["place"], row["epoch"]) for row in rows[:3]] == [(1, 1), (0, 1), (1, 2)]
    assert steps[steps.index(2) :] == [2] * 9 + [1] * 3
    assert left_behind(fresh_home, trials) == wanted


def test_one_whose_batches_are_cut_in_parts_goes_alone_after_the_others(
    steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1, MORE), settings(2, MORE), settings(3, MORE)]
    with Trial(trials[0], "cpu", {}) as trial:
        trial.fit.micro_batch_size = 4
        trial.advance()
    rows = rest(a_process(trials))
    assert set(steps) == {2}, "what is cut takes its steps by itself"
    assert [row["place"] for row in rows] == [1, 2] * 4 + [0] * 3
    assert [row["micro_batch_size"] for row in of(rows, 0)] == [4] * 3
