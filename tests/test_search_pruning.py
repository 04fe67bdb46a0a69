"""Stopping early: what a pruner sees, that a restart changes nothing, that replicates end where there is no hope."""

import shutil
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from datasets.home import home
from search import files, spaces
from search.errors import ConfigError
from search.planning import data
from search.planning.job import Job
from search.study import ledger, pruning
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.study.records import ledger_file
from search.words import group_names, read_words

STAGES, EPOCHS = 2, 3  # of the schedule below, each
LEVELS = {  # what each network of space=smoke ends at
    "samplecnn_m3_n4_s243": 0.86,
    "samplecnn_m4_n4_s64": 0.90,
    "samplecnn_m3_n5_s243_w729": 0.82,
    "melcnn_m3_n4_s729_w729": 0.80,
}


def a_job(*words: str) -> Job:
    settings = read_words(["dataset=demo", "budget=small", "space=smoke", *words])
    return Job.of(settings, spaces.load(settings.space), data.find(settings), words)


def a_decider(job: Job) -> Decider:
    return Decider(ledger.open_study(job), job)


def auc(assignment: Assignment, epoch: int) -> float:
    """A made-up curve, another one for each seed."""
    level = LEVELS[assignment.settings.network] + 0.001 * (assignment.settings.seed % 3)
    return level - 0.1 / epoch


def end(decider: Decider, assignment: Assignment, score: float) -> None:
    result: dict[str, Any] = {"signature": assignment.signature, "valid": {"roc_auc": score}}
    files.write_json(files.trial_folder(assignment.signature) / files.RESULT, result)
    decider.finish(assignment.number, result)


def play(job: Job, restarts: bool) -> list[tuple[TrialState, int]]:
    """Two trials at once to the end of the search. restarts: the driver is killed after every round."""
    decider, running = a_decider(job), dict[str, Assignment]()
    for _ in range(100):
        while len(running) < 2 and (assignment := decider.next()):
            running[assignment.signature] = assignment
        if not running:
            break
        for assignment in list(running.values()):
            if advance(decider, assignment):
                del running[assignment.signature]
        if restarts:
            decider, running = a_decider(job), {}
    trials = ledger.open_study(job).get_trials()
    return [(trial.state, len(trial.intermediate_values)) for trial in trials]


def advance(decider: Decider, assignment: Assignment) -> bool:
    """One more epoch; True if the trial has ended with it."""
    epoch = len(decider.study.get_trials(deepcopy=False)[assignment.number].intermediate_values) + 1
    decider.record(assignment.number, epoch, auc(assignment, epoch), (epoch - 1) // EPOCHS)
    if epoch == STAGES * EPOCHS:
        end(decider, assignment, auc(assignment, epoch))
    elif decider.should_stop(assignment.number):
        decider.prune(assignment.number)
    else:
        return False
    return True


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    "words",
    [
        ("pruner=successive_halving",),
        ("pruner=hyperband", "pruner.rungs=epoch", "pruner.arguments.max_resource=6"),
    ],
)
def test_a_driver_that_is_started_again_stops_what_the_one_before_would_have(words: tuple[str, ...]) -> None:
    job = a_job("study=one", "seeds=2", *words)
    straight = play(job, restarts=False)
    shutil.rmtree(home() / "trials")
    ledger_file().unlink()
    assert play(job, restarts=True) == straight
    assert {TrialState.PRUNED, TrialState.COMPLETE} == {state for state, _ in straight}


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_whose_stop_was_decided_before_the_driver_died_does_not_go_on() -> None:
    job = a_job("pruner=median", "pruner.rungs=epoch", "pruner.arguments.n_startup_trials=1")
    decider = a_decider(job)
    first, second = decider.next(), decider.next()
    assert first is not None
    assert second is not None
    for epoch in (1, 2):
        decider.record(first.number, epoch, 0.9)
    end(decider, first, 0.9)
    for epoch in (1, 2):
        decider.record(second.number, epoch, 0.1)
    assert decider.should_stop(second.number)  # and then: SIGKILL
    assert second.signature not in [each.signature for each in iter(a_decider(job).next, None) if each]
    assert ledger.open_study(job).get_trials()[second.number].state == TrialState.PRUNED


def test_a_stage_is_seen_when_it_has_ended_by_its_best_epoch() -> None:
    epochs = [(0, 0.6), (0, 0.8), (0, 0.7), (1, 0.75)]
    assert pruning.steps_of(epochs, "stage") == [(1, 0.8)]
    assert pruning.steps_of(epochs, "epoch") == [(1, 0.6), (2, 0.8), (3, 0.7), (4, 0.75)]
    assert pruning.steps_of([], "stage") == []


def stopper(rungs: str) -> pruning.Stopper:
    return pruning.Stopper("s", optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1), rungs)


@pytest.mark.parametrize(("rungs", "stops"), [("epoch", True), ("stage", False)])
def test_a_long_first_stage_is_no_reason_to_stop_by_stages(rungs: str, stops: bool) -> None:
    asked = stopper(rungs)
    asked.enter(0)
    for stage, score in [(0, 0.80), (1, 0.90), (2, 0.91)]:
        asked.report(0, stage, score)
    asked.end(0, TrialState.COMPLETE, 0.91)
    asked.enter(1)
    for stage, score in [(0, 0.75), (0, 0.85), (1, 0.93)]:  # its rate falls an epoch later
        asked.report(1, stage, score)
        if asked.should_stop(1):
            break
    assert asked.should_stop(1) is stops


def test_a_hopeless_network_gets_no_more_seeds_once_four_have_told() -> None:
    pruner = pruning.pruner_of(read_words(["pruner=wilcoxon"]))
    good, bad = [0.90, 0.91, 0.90, 0.92], [0.80, 0.81, 0.80, 0.82]
    assert not pruning.worth_another_seed(pruner, {"good": good, "bad": bad}, "bad")
    assert pruning.worth_another_seed(pruner, {"good": good, "bad": bad}, "good")
    assert pruning.worth_another_seed(pruner, {"good": good[:3], "bad": bad[:3]}, "bad")
    assert pruning.worth_another_seed(pruner, {"bad": bad}, "bad")


@pytest.mark.usefixtures("fresh_home")
def test_replicates_end_with_the_seed_at_which_a_network_is_worse() -> None:
    job = a_job("pruner=wilcoxon", "seeds=5")
    decider, seeds = a_decider(job), dict.fromkeys(LEVELS, 0)
    while assignment := decider.next():
        seeds[assignment.settings.network] += 1
        end(decider, assignment, auc(assignment, 6))
    assert seeds == {name: 5 if name == "samplecnn_m4_n4_s64" else 4 for name in LEVELS}
    assert (decider.expected(), decider.missing()) == (17, 0)
    assert a_decider(job).has_all()


def test_nothing_that_a_pruner_goes_by_is_guessed_from_whichever_trial_ends_first() -> None:
    for name in group_names("pruner"):
        made = pruning.pruner_of(read_words([f"pruner={name}", "budget=paper"]))
        assert getattr(made, "_max_resource", 5) == 5  # the stages of the paper's schedule
        assert getattr(made, "_min_resource", 1) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pruner.rungs=stages"], "pruner.rungs=stages: did you mean stage?"),
        (["objectives=[auk]"], "objectives: nothing is called 'auk'; did you mean auc?"),
        (["objectives=[auc:up]"], "objectives: auc:up is neither auc:max nor auc:min"),
        (["objectives=[auc,auc:min]"], "objectives=['auc', 'auc:min']: auc stands there twice"),
        (["objectives=[]"], "objectives=[]: give a list, as [auc:max,macs:min]"),
        (
            ["pruner=median", "objectives=[auc,macs]"],
            "pruner MedianPruner stops trials by their AUC alone, which is not all that "
            "objectives=[auc:max,macs:min] asks for: take pruner=none, or objectives=[auc:max]",
        ),
    ],
)
def test_words_about_stopping_and_objectives_are_answered_in_a_line(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_words(words)
    assert str(refused.value) == said


def test_a_pruner_that_can_not_be_had_is_told_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^HyperbandPruner can't work with .*'min_resource': 'abc'.*: "):
        pruning.pruner_of(read_words(["pruner=hyperband", "pruner.arguments.min_resource=abc"]))
    with pytest.raises(
        ConfigError, match=r"^Optuna has no optuna.pruners.MedianPrunner; did you mean MedianPruner\?$"
    ):
        pruning.pruner_of(read_words(["pruner.name=MedianPrunner"]))
    with pytest.raises(ConfigError, match=r"^pruner.arguments.wrapped_pruner=mean: give median, or null for"):
        pruning.pruner_of(read_words(["pruner=patience", "pruner.arguments.wrapped_pruner=mean"]))
