"""When the trials of a search are stopped: the pruner's word, and what of it the ledger keeps for the next driver."""

from bisect import bisect_right

import optuna
from optuna.trial import TrialState

from search.settings import Stopping
from search.study.ledger import settings_of
from search.study.pruning import Stopper

# Of a trial: the first epoch of each stage, and the epoch it stops after
STARTS, STOPS = "stage_starts", "stops"


class Stops:
    """The trials of a study before its pruner; nobody is stopped where the pruner never does, or judges seeds only.

    study: whose trials are put before the pruner again, as if what the ledger knows had just happened.
    """

    def __init__(self, study: optuna.Study, wanted: Stopping, pruner: optuna.pruners.BasePruner) -> None:
        judges = wanted.stops and wanted.rungs != "seed"
        self._stopper = Stopper(study.study_name, pruner, wanted.rungs) if judges else None
        self.by_stage = judges and wanted.rungs == "stage"
        self._starts: dict[int, list[int]] = {}  # of running trials
        if self._stopper is not None:
            self._replay(study, self._stopper)

    def _replay(self, study: optuna.Study, stopper: Stopper) -> None:
        for trial, _ in settings_of(
            study, tuple(state for state in TrialState if state != TrialState.WAITING)
        ):
            stopper.enter(trial.number)
            starts = self._starts[trial.number] = list(trial.user_attrs.get(STARTS, ()))
            for epoch, value in sorted(trial.intermediate_values.items()):
                stopper.report(trial.number, max(bisect_right(starts, epoch) - 1, 0), value)
            # What was decided then counts, not what the pruner thinks now that it knows how others ended.
            stopper.decided(trial.number, STOPS in trial.user_attrs)
            if trial.state != TrialState.RUNNING:
                done = trial.state == TrialState.COMPLETE
                stopper.end(trial.number, trial.state, trial.value if done else None)

    def enter(self, number: int) -> None:
        """A trial begins."""
        if self._stopper is not None:
            self._stopper.enter(number)

    def report(self, trial: optuna.Trial, epoch: int, value: float, stage: int) -> None:
        """One more epoch, before it stands in the ledger: there is none in it undecided. stage: counted from 0."""
        if self._stopper is None:
            return
        if self.by_stage:
            self._note_start(trial, epoch, stage)
        self._stopper.report(trial.number, stage, value)
        if self._stopper.should_stop(trial.number):
            trial.set_user_attr(STOPS, epoch)

    def _note_start(self, trial: optuna.Trial, epoch: int, stage: int) -> None:
        """The ledger is told where stages start, so that it says it all by itself."""
        starts = self._starts.setdefault(trial.number, [])
        if len(starts) <= stage:
            starts += [epoch] * (stage + 1 - len(starts))
            trial.set_user_attr(STARTS, starts)

    def should_stop(self, number: int) -> bool:
        """Whether the pruner would end the trial after the epochs it has shown."""
        return self._stopper is not None and self._stopper.should_stop(number)

    def end(self, number: int, state: TrialState, auc: float | None = None) -> None:
        """The trial is over."""
        self._starts.pop(number, None)
        if self._stopper is not None:
            self._stopper.end(number, state, auc)
