"""A sampler is shown the best and the latest of a long search: always the same ones, and never more."""

import random

import numpy as np
import optuna
import pytest
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.study.recall import BEST, MOST, Bounded, Recall, bounded


def a_study(sampler: optuna.samplers.BaseSampler | None = None, *directions: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, directions=directions or ("maximize",))


def play(study: optuna.Study, count: int, seed: int = 0) -> None:
    """Random values, every seventh trial pruned, every eleventh failed, the last one left running."""
    chance = random.Random(seed)
    for at in range(count):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        if at % 11 == 5:
            study.tell(trial, state=TrialState.FAIL)
        elif at % 7 == 3:
            trial.report(chance.random(), 1)
            study.tell(trial, state=TrialState.PRUNED)
        elif at < count - 1:
            study.tell(trial, [chance.random() for _ in study.directions])


def shown(study: optuna.Study, most: int, looks: int = 1) -> list[int]:
    """Numbers of what is shown after so many looks on the way."""
    recall, trials = Recall(study.directions, most), study.get_trials(deepcopy=False)
    for look in range(1, looks + 1):
        recall.look(trials[: len(trials) * look // looks])
    return [trial.number for trial in recall.trials]


def test_the_best_the_latest_and_what_runs_are_shown() -> None:
    study = a_study(RandomSampler(seed=0))
    play(study, 400)
    trials = study.get_trials()
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    complete = [t for t in ended if t.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda t: -t.value)[:BEST]
    found = shown(study, most=100)
    assert found == sorted(found)
    assert {t.number for t in best} <= set(found)
    assert {t.number for t in ended[-100 + BEST :]} <= set(found)
    assert trials[-1].state == TrialState.RUNNING
    assert trials[-1].number in found
    assert len(found) == 101


@pytest.mark.parametrize("directions", [("maximize",), ("minimize",), ("maximize", "minimize")])
def test_what_is_shown_does_not_depend_on_how_often_one_looked(directions: tuple[str, ...]) -> None:
    study = a_study(RandomSampler(seed=0), *directions)
    chance = random.Random(1)
    for _ in range(300):
        study.tell(study.ask(), [chance.random() for _ in directions])
    assert shown(study, 60) == shown(study, 60, looks=300)


def test_of_several_objectives_the_front_is_shown() -> None:
    study = a_study(RandomSampler(seed=0), "maximize", "minimize")
    chance = random.Random(0)
    for _ in range(300):
        study.tell(study.ask(), [chance.random(), chance.random()])
    assert {trial.number for trial in study.best_trials} <= set(shown(study, 60))


def test_a_trial_that_ran_is_shown_with_its_end() -> None:
    study = a_study(RandomSampler(seed=0))
    recall, (first, second) = Recall([StudyDirection.MAXIMIZE], 10), (study.ask(), study.ask())
    recall.look(study.get_trials())
    study.tell(first, 0.5)
    recall.look(study.get_trials())
    assert [trial.state.name for trial in recall.trials] == ["COMPLETE", "RUNNING"]
    assert recall.trials[1].number == second.number


@pytest.mark.parametrize("kind", [TPESampler, GPSampler])
def test_only_samplers_that_weigh_every_trial_are_bounded(kind: type) -> None:
    study = a_study()
    assert isinstance(bounded(kind(seed=0), study), Bounded)
    plain = RandomSampler(seed=0)
    assert bounded(plain, study) is plain


def test_until_there_are_too_many_trials_a_bounded_sampler_proposes_what_it_always_did() -> None:
    points = []
    for wrap in (False, True):
        study = a_study()
        study.sampler = bounded(TPESampler(seed=3), study) if wrap else TPESampler(seed=3)
        play(study, 60)
        points.append([trial.params for trial in study.get_trials()])
    assert points[0] == points[1]


def test_tpe_weighs_no_more_trials_in_a_long_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST, "TPESampler", 50)
    weighed: list[int] = []
    estimator = TPESampler._build_parzen_estimator

    def counting(self: TPESampler, study: optuna.Study, space: dict, trials: list, handle_below: bool):
        weighed.append(len(trials))
        return estimator(self, study, space, trials, handle_below)

    monkeypatch.setattr(TPESampler, "_build_parzen_estimator", counting)
    study = a_study()
    study.sampler = bounded(TPESampler(seed=0), study)
    play(study, 200)
    assert max(np.add(weighed[::2], weighed[1::2])) == 50
