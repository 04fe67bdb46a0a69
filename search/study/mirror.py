"""The study of a search in memory, with its database behind it: what is asked costs no query, what happens is written.

Optuna's own storage asks the database some forty times for each trial, and writes each parameter by itself. Here the
database is read once, when the driver starts, and a trial goes into it whole, in one transaction, before it is run.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import InterfaceError, OperationalError

from search.errors import SearchError
from search.failures import LedgerAway, is_storage_full, why

ONLY = 0  # the one study that is held in memory, by its number there
PATIENCE_SECONDS, PAUSE_SECONDS = 30.0, 1.0  # how long a database may be away, and how often it is tried

AWAY = InterfaceError, OperationalError

Answer = TypeVar("Answer")


class Mirror(InMemoryStorage):
    """Answers from memory; whatever is written of a trial that has been entered is in the database on return.

    Trials have their number for their id here, whatever the database calls them.

    database: holds the study of that name; no one else may write to the study meanwhile. Where it is away for a while
              what is written waits. raises: LedgerAway if it stays away.
    check:    asked before each write whether no one else does; raises SearchError where one does.
    """

    def __init__(self, database: BaseStorage, name: str, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._database, self._study = database, database.get_study_id_from_name(name)
        self._check, self._is_away = check, False
        self._entered: dict[int, int] = {}  # the database's ids of the trials in it that have not ended
        super().create_new_study(database.get_study_directions(self._study), name)
        for key, value in database.get_study_user_attrs(self._study).items():
            super().set_study_user_attr(ONLY, key, value)
        for key, value in database.get_study_system_attrs(self._study).items():
            super().set_study_system_attr(ONLY, key, value)
        for trial in database.get_all_trials(self._study, deepcopy=False):
            number = super().create_new_trial(ONLY, trial)
            if not trial.state.is_finished():
                self._entered[number] = trial._trial_id

    def enter(self, trial_id: int) -> None:
        """Write a trial into the database as it is by now.

        raises: SearchError if someone else has written trials to the study.
        """
        trial = self.get_trial(trial_id)

        def enter(again: bool) -> int:
            if again:
                with suppress(KeyError):
                    return self._database.get_trial_id_from_study_id_trial_number(self._study, trial.number)
            return self._database.create_new_trial(self._study, trial)

        try:
            entered = self._patiently(enter)
        except SearchError:
            raise
        except ValueError as error:  # Optuna's, of a parameter that earlier trials had with other choices
            raise SearchError(
                f"the study holds trials of another space than this one is by now ({error}); give this search another "
                f"name by study=NAME"
            ) from error
        if self._patiently(lambda again: self._database.get_trial_number_from_id(entered)) != trial.number:
            # Else the other driver would take it over as one of its own
            self._patiently(lambda again: self._database.set_trial_state_values(entered, TrialState.FAIL))
            raise SearchError(
                "another driver writes to this study; end one of them, or give one another name by study=NAME"
            )
        if not trial.state.is_finished():
            self._entered[trial_id] = entered

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(lambda again: self._database.set_study_user_attr(self._study, key, value))
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(lambda again: self._database.set_study_system_attr(self._study, key, value))
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is not None and template_trial.state.is_finished():
            self.enter(trial_id)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        if trial_id in self._entered:
            entered = self._entered[trial_id]

            def end(again: bool) -> bool:
                try:
                    return self._database.set_trial_state_values(entered, state, values)
                except UpdateFinishedTrialError:
                    if not again:
                        raise
                    return True

            self._patiently(end)
        changed = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished() and self._entered.pop(trial_id, None) is None:
            self.enter(trial_id)  # it ended before it was to be run, as a duplicate does
        return changed

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        if trial_id in self._entered:
            known = self._entered[trial_id], param_name, param_value_internal, distribution
            self._patiently(lambda again: self._database.set_trial_param(*known))
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        if trial_id in self._entered:
            known = self._entered[trial_id], step, intermediate_value
            self._patiently(lambda again: self._database.set_trial_intermediate_value(*known))
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id in self._entered:
            known = self._entered[trial_id], key, value
            self._patiently(lambda again: self._database.set_trial_user_attr(*known))
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id in self._entered:
            known = self._entered[trial_id], key, value
            self._patiently(lambda again: self._database.set_trial_system_attr(*known))
        super().set_trial_system_attr(trial_id, key, value)

    def _patiently(self, write: Callable[[bool], Answer]) -> Answer:
        """What `write` gives, which is told whether it is tried again: it may have been done, and the answer lost."""
        deadline, again = time.monotonic() + (0 if self._is_away else PATIENCE_SECONDS), False
        while True:
            try:
                self._check()
                answer = write(again)
            except (StorageInternalError, *AWAY) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                if not isinstance(cause, AWAY) or is_storage_full(error):
                    raise
                if time.monotonic() >= deadline:
                    self._is_away = True  # whatever else is to be written does not wait as long again
                    raise LedgerAway(
                        f"the ledger can't be written ({why(cause)}); once it can, the same command goes on"
                    ) from error
            else:
                self._is_away = False
                return answer
            again = True
            time.sleep(PAUSE_SECONDS)
