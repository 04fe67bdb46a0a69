"""What a sampler is shown of a long search: its best trials, its latest ones, and those that run.

TPE and the Gaussian process weigh every trial for every proposal, so each takes longer than the one before. Shown no
more than `MOST` of the trials that ended, they take the same time for the ten-thousandth proposal as for the
five-hundredth. TPE loses little: of a single objective it never calls more than 25 trials good, and those are kept; the
others only say where not to go, and the older they are the less Optuna lets them count. Which trials are shown follows
from the ledger, so a driver that was started again shows the same.
"""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

MOST = {"TPESampler": 500, "GPSampler": 100}  # trials that have ended
BEST = 25  # of them are the best: as many as TPE takes for good


class Recall:
    """The trials of a study that a sampler is shown; each is looked at once, when it has ended."""

    def __init__(self, directions: Sequence[StudyDirection], most: int) -> None:
        self.signs = np.array([1.0 if way == StudyDirection.MAXIMIZE else -1.0 for way in directions])
        self.most = most
        self.trials: list[FrozenTrial] = []
        self._ended: list[FrozenTrial] = []
        self._open: list[int] = []
        self._seen = 0

    def look(self, trials: Sequence[FrozenTrial]) -> None:
        """Take note of what has changed. trials: all of the study's, by their numbers."""
        news = [trials[number] for number in (*self._open, *range(self._seen, len(trials)))]
        self._seen, self._open = (
            len(trials),
            [trial.number for trial in news if not trial.state.is_finished()],
        )
        running = [trial for trial in news if trial.state == TrialState.RUNNING]
        self._ended += [trial for trial in news if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self._ended.sort(key=lambda trial: trial.number)
        if len(self._ended) > self.most:
            best = self._best()
            rest = [trial for trial in self._ended if trial.number not in best]
            kept = {trial.number for trial in rest[len(best) - self.most :]} | best
            self._ended = [trial for trial in self._ended if trial.number in kept]
        self.trials = sorted([*self._ended, *running], key=lambda trial: trial.number)

    def _best(self) -> set[int]:
        """Numbers of the best trials: by value, or of several objectives the latest that nothing beats."""
        complete = [trial for trial in self._ended if trial.state == TrialState.COMPLETE]
        if not complete:
            return set()
        values = np.array([trial.values for trial in complete]) * self.signs
        if len(self.signs) == 1:
            chosen = np.argsort(-values[:, 0], kind="stable")[:BEST]
        else:
            as_good = (values[:, None] >= values[None]).all(-1)
            better = (values[:, None] > values[None]).any(-1)
            chosen = np.flatnonzero(~(as_good & better).any(0))[-BEST:]
        return {complete[at].number for at in chosen}


class Shown(optuna.Study):
    """A study of which only some trials are seen."""

    recall: Recall

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self.recall.trials if states is None or trial.state in states]


class Bounded(BaseSampler):
    """A sampler of Optuna's that sees so many trials of the study and no more."""

    def __init__(self, sampler: BaseSampler, study: optuna.Study, most: int) -> None:
        self.sampler = sampler
        self.shown = Shown(study.study_name, study._storage, sampler=sampler)
        self.shown.recall = Recall(study.directions, most)

    def reseed_rng(self) -> None:
        self.sampler.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.shown.recall.look(study.get_trials(deepcopy=False))
        self.sampler.before_trial(self.shown, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(self.shown, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(self.shown, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(self.shown, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)


def bounded(sampler: BaseSampler, study: optuna.Study) -> BaseSampler:
    """The sampler, shown no more trials than it can weigh in time; those that don't weigh them all stay as they are."""
    most = MOST.get(type(sampler).__name__)
    return sampler if most is None else Bounded(sampler, study, most)
