"""Trials that an earlier driver, or another search, has left: a restart changes nothing of what becomes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from proposals import a_decider, a_space, end, run

from search import files
from search.outcome import Outcome
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.study.records import Records

STOPPING = ("pruner.name=ThresholdPruner", "pruner.arguments.lower=0.3", "pruner.rungs=epoch")

pytestmark = pytest.mark.usefixtures("fresh_home")


class Killed(BaseException):
    """What ends a driver between two writes."""


def leave_epochs(assignment: Assignment, *aucs: float, is_trained: bool = False) -> None:
    """In the trial's folder. is_trained: the last one was the last of its schedule."""
    rows = [
        {"epoch": epoch, "valid_roc_auc": auc, "stage": 0, "last": is_trained and epoch == len(aucs)}
        for epoch, auc in enumerate(aucs, 1)
    ]
    files.write_json(files.trial_folder(assignment.signature) / files.EPOCHS, rows)


def state_of(decider: Decider, assignment: Assignment) -> TrialState:
    return decider.study.get_trials()[assignment.number].state


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_trial_that_was_left_while_its_test_clips_were_scored_is_not_stopped_for_its_last_epoch(
    is_trained: bool,
) -> None:
    decider = a_decider("space=smoke", *STOPPING)
    left = decider.next()
    assert left is not None
    decider.record(left.number, 1, 0.5, 0)
    leave_epochs(left, 0.5, 0.2, is_trained=is_trained)
    again = a_decider("space=smoke", *STOPPING)
    assert state_of(again, left) == (TrialState.RUNNING if is_trained else TrialState.PRUNED)
    taken = again.next()
    assert taken is not None
    assert (taken.signature == left.signature) == is_trained


def test_what_another_search_left_half_trained_is_stopped_by_its_first_bad_epoch() -> None:
    left = a_decider("space=smoke", "study=a").next()
    assert left is not None
    leave_epochs(left, 0.2, 0.5)
    for decider in (a_decider("space=smoke", "study=b", *STOPPING) for _ in range(2)):  # and after a restart
        assert left.signature not in [each.signature for each in run(decider)]
        (found,) = [each for each in decider.settled() if each.assignment.signature == left.signature]
        assert found.outcome == Outcome.STOPPED


def test_what_a_pruner_said_once_counts_after_better_epochs_too() -> None:
    decider = a_decider("space=smoke", *STOPPING)
    one = decider.next()
    assert one is not None
    for epoch, auc in enumerate((0.5, 0.2, 0.6), 1):
        decider.record(one.number, epoch, auc, 0)
    assert decider.should_stop(one.number)


def killed(*given: Any, **named: Any) -> None:
    raise Killed


def a_trial_fails(decider: Decider, one: Assignment) -> None:
    decider.fail(one.number, "error", "it broke")


def nobody_wants_it(decider: Decider, one: Assignment) -> None:
    a_decider("space=smoke", "study=s", "seeds=1")


@pytest.mark.parametrize("gives_up", [a_trial_fails, nobody_wants_it])
def test_a_driver_that_is_killed_while_it_writes_a_failure_down_takes_nothing_from_the_search(
    gives_up: Callable[[Decider, Assignment], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "space=smoke", "study=s", "seeds=2"
    decider = a_decider(*words)
    while (one := decider.next()) and one.settings.seed == 0:
        end(decider, one, 0.5)
    assert one is not None
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", killed)
        with pytest.raises(Killed):
            gives_up(decider, one)
    run(a_decider(*words))
    again = a_decider(*words)
    assert (len(again.ended()), again.expected()) == (8, 8)
    (search,) = Records().searches()
    assert [(each.outcome, each.kind, each.why) for each in search.records] == [(Outcome.DONE, "", "")] * 8


@pytest.mark.parametrize("seeds", [21, 30])
def test_a_search_of_which_all_is_known_elsewhere_has_nothing_to_ask_for(seeds: int, tmp_path: Path) -> None:
    space = a_space(
        tmp_path,
        "def sample(trial):\n    return Point(f\"samplecnn_m3_n{trial.suggest_int('n', 3, 4)}_s81\")\n",
    )
    assert len(run(a_decider(space, "study=a", "trials=2", f"seeds={seeds}"))) == 2 * seeds
    again = a_decider(space, "study=b", "trials=5", f"seeds={seeds}")
    assert again.next() is None
    assert len(again.ended()) == 2 * seeds
