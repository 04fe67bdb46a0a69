"""What to train next, when to stop it, how it ended: Optuna decides and remembers.

Nothing here places or runs a trial. `Decider.next` hands out assignments until there are none left, whoever asks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from search import files
from search.job import Job
from search.ledger import settings_of
from search.settings import TrialSettings

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
REPEATED_ASKS = 20  # a sampler that proposes what is known is asked again this often ...
RANDOM_DRAWS = 500  # ... then a new point is looked for at random; a space without one is exhausted


@dataclass(frozen=True)
class Assignment:
    """A trial to be run: its number in the study, and what it is."""

    number: int
    settings: TrialSettings

    @property
    def signature(self) -> str:
        return self.settings.signature()


class Decider:
    """The one place where a search's next step is decided.

    study:    the ledger. Trials it calls running belonged to a driver that is gone: they are handed out first.
    job:      what is searched, and what each point of it means.
    """

    def __init__(self, study: optuna.Study, job: Job) -> None:
        self.study, self.job, self.space, self.settings = study, job, job.space, job.settings
        self.exhausted = False
        self._live: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}
        self._left_running = self._take_over()
        self._wanted = self._enqueue_grid() if job.space.grid is not None else None

    def next(self) -> Assignment | None:
        """The next trial to run; None when the search has all it wants."""
        if self._left_running:
            return self._left_running.pop(0)
        known = 0
        while self._wants_more():
            if assignment := self._ask():
                return assignment
            known += 1
            if self._wanted is None and known % REPEATED_ASKS == 0 and not self._enqueue_unseen():
                self.exhausted = True
                return None
        return None

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Write down an epoch's validation score; True if the trial should stop here."""
        trial = self._live[number]
        self._write_epoch(trial, epoch, value)
        return trial.should_prune()

    def finish(self, number: int, result: Mapping[str, Any]) -> None:
        """The trial trained to its end: its value is the validation ROC-AUC of the weights that count."""
        self.study.tell(self._live.pop(number), result["valid"]["roc_auc"])

    def prune(self, number: int) -> None:
        """The trial was stopped early; its epochs stay in the ledger."""
        self.study.tell(self._live.pop(number), state=TrialState.PRUNED)

    def fail(self, number: int, kind: str, why: str) -> None:
        """The trial ended without a result. It is not tried again by this driver; the next one tries a grid's."""
        trial = self._live.pop(number)
        trial.set_user_attr("failure", {"kind": kind, "why": why})
        self.study.tell(trial, state=TrialState.FAIL)

    def ended(self) -> list[Assignment]:
        """The trials of this search that trained to their end, in the order of the ledger, duplicates left out."""
        found = [Assignment(number, settings) for number, settings in settings_of(self.study)]
        return [each for each in found if self._wanted is None or each.signature in self._wanted]

    def failures(self) -> list[tuple[str, str, str]]:
        """(network, kind, why) of each training that failed and has not ended well since."""
        well = {each.signature for each in self.ended()}
        failed: dict[str, tuple[str, str, str]] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            if "settings" in trial.user_attrs and trial.user_attrs["signature"] not in well:
                network = json.loads(trial.user_attrs["settings"])["network"]
                failure = trial.user_attrs.get("failure", {"kind": "interrupted", "why": ""})
                failed[trial.user_attrs["signature"]] = (network, failure["kind"], failure["why"])
        return list(failed.values())

    def has_all(self) -> bool:
        """Nothing is left to train."""
        return not self._left_running and not self._wants_more()

    def expected(self) -> int:
        """How many trainings the search consists of, those already done included."""
        return len(self._wanted) if self._wanted is not None else self.settings.trials * self.settings.seeds

    def _take_over(self) -> list[Assignment]:
        """Trials of an interrupted driver, ready to go on; the ones it had not settled yet are given up."""
        left = []
        for frozen in self.study.get_trials(deepcopy=False):
            signature = str(frozen.user_attrs.get("signature"))
            if frozen.state in ENDED and "duplicate_of" not in frozen.user_attrs:
                self._numbers[signature] = frozen.number
            if frozen.state != TrialState.RUNNING:
                continue
            self._live[frozen.number] = trial = optuna.Trial(self.study, frozen._trial_id)
            if "settings" not in frozen.user_attrs:
                self.fail(frozen.number, "interrupted", "the search stopped before this trial had settings")
                continue
            self._numbers[signature] = frozen.number
            self._catch_up(trial, signature)
            if result := files.read_result(signature):
                self.finish(frozen.number, result)
            else:
                settings = TrialSettings.from_json(json.loads(frozen.user_attrs["settings"]))
                left.append(Assignment(frozen.number, settings))
        return left

    def _enqueue_grid(self) -> set[str]:
        """Put every point of the grid that has not ended and is not under way into the study's queue.

        returns: the signatures of the whole grid.
        """
        waiting = {
            trial.user_attrs.get("signature") for trial in self.study.get_trials(states=(TrialState.WAITING,))
        }
        wanted = set()
        for seed in range(self.settings.seed, self.settings.seed + self.settings.seeds):
            for params, point in zip(self.space.grid or (), self.space.points(), strict=True):
                signature = self.job.resolve(point, seed).signature()
                wanted.add(signature)
                if signature not in waiting and signature not in self._numbers:
                    self.study.enqueue_trial(dict(params), user_attrs={"seed": seed, "signature": signature})
        return wanted

    def _wants_more(self) -> bool:
        if self._wanted is not None:
            return not self._wanted <= set(self._numbers)
        tried = self.study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING, TrialState.FAIL))
        return sum("settings" in trial.user_attrs for trial in tried) < self.expected()

    def _ask(self) -> Assignment | None:
        """Ask the study once; None if what it proposes needs no training."""
        trial = self.study.ask()
        seed = trial.user_attrs.get("seed", self.settings.seed)
        settings = self.job.resolve(self.space.sample(trial), seed)
        signature = settings.signature()
        self._live[trial.number] = trial
        trial.set_user_attr("signature", signature)
        if signature in self._numbers or (self._wanted is not None and signature not in self._wanted):
            self._tell_duplicate(trial, signature)
            return None
        self._numbers[signature] = trial.number
        trial.set_user_attr("seed", seed)
        if self._wanted is None and seed == self.settings.seed:
            self._enqueue_replicates(trial)
        trial.set_user_attr("settings", json.dumps(settings.to_json()))
        self._catch_up(trial, signature)
        if result := files.read_result(signature):  # trained by another search
            trial.set_user_attr("reused", True)
            self.finish(trial.number, result)
            return None
        return Assignment(trial.number, settings)

    def _tell_duplicate(self, trial: optuna.Trial, signature: str) -> None:
        """End a proposal that is known: with its value where there is one, so that the sampler moves on."""
        number = self._numbers.get(signature)
        trial.set_user_attr("duplicate_of", number)
        del self._live[trial.number]
        known = None if number is None else self.study.get_trials(deepcopy=False)[number]
        if known is not None and known.state == TrialState.COMPLETE:
            self.study.tell(trial, known.value)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _enqueue_replicates(self, trial: optuna.Trial) -> None:
        for seed in range(self.settings.seed + 1, self.settings.seed + self.settings.seeds):
            self.study.enqueue_trial(trial.params, user_attrs={"seed": seed})

    def _enqueue_unseen(self) -> bool:
        """Queue a point that has never been tried; False if random draws find none."""
        draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(self._numbers)))
        for _ in range(RANDOM_DRAWS):
            drawn = draws.ask()
            if (
                self.job.resolve(self.space.sample(drawn), self.settings.seed).signature()
                not in self._numbers
            ):
                self.study.enqueue_trial(drawn.params)
                return True
        return False

    def _catch_up(self, trial: optuna.Trial, signature: str) -> None:
        """Write down the epochs that the trial's folder has and the ledger lacks."""
        for row in files.read_epochs(signature):
            self._write_epoch(trial, row["epoch"], row["valid_roc_auc"])

    def _write_epoch(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        if epoch not in self.study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, epoch)
