"""Which further seeds of a network are worth training, where the pruner compares networks by their seeds."""

from collections.abc import Callable
from itertools import takewhile

import optuna

from search.planning.job import Job
from search.settings import TrialSettings
from search.study import pruning
from search.study.ledger import settings_of


class Hopes:
    """What may still be hoped of a search's networks.

    pruner:    who judges them. is_wanted: whether a training belongs to this search.
    abandoned: the signatures of the trainings that were found not to be worth it.
    """

    def __init__(
        self,
        study: optuna.Study,
        job: Job,
        pruner: optuna.pruners.BasePruner,
        is_wanted: Callable[[TrialSettings], bool],
    ) -> None:
        self.study, self.pruner, self.is_wanted = study, pruner, is_wanted
        self.judges = job.settings.pruner.rungs == "seed"
        self.seeds = range(job.settings.seed, job.settings.seed + job.settings.seeds)
        self.abandoned: set[str] = set()

    def is_hopeless(self, settings: TrialSettings) -> bool:
        """Whether the pruner ends a network's replicates before this one, as it is worse on the seeds so far."""
        if not self.judges or settings.seed == self.seeds[0]:
            return False
        scores, point = self._scores_by_seed(), settings.point()
        if point not in scores or pruning.worth_another_seed(self.pruner, scores, point):
            return False
        self.abandoned.add(settings.signature())
        return True

    def _scores_by_seed(self) -> dict[str, list[float]]:
        """The AUCs of each network's seeds, in their order, up to the first that has none yet."""
        found: dict[str, dict[int, float]] = {}
        for trial, settings in settings_of(self.study):
            if self.is_wanted(settings):
                found.setdefault(settings.point(), {})[settings.seed] = trial.values[0]
        return {
            point: [aucs[seed] for seed in takewhile(aucs.__contains__, self.seeds)]
            for point, aucs in found.items()
        }
