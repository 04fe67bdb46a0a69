"""What to train next, when to stop it, how it ended: Optuna decides and remembers.

Nothing here places or runs a trial. `Decider.next` hands out assignments until there are none left, whoever asks.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search import files
from search.job import Job
from search.ledger import settings_of
from search.settings import TrialSettings

REPEATED_ASKS = 20  # a sampler that proposes what is known is asked again this often ...
RANDOM_DRAWS = 500  # ... then a new point is looked for at random; a space that shows none is exhausted
UNWANTED = "not wanted"  # the kind of a trial that ended because nobody asks for it any more
OUTCOMES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Assignment:
    """A trial to be run: its number in the study, and what it is."""

    number: int
    settings: TrialSettings

    @property
    def signature(self) -> str:
        return self.settings.signature()


@dataclass(frozen=True)
class Ended:
    """How a trial ended. outcome: done, stopped or failed; a failure has a kind and says why."""

    assignment: Assignment
    outcome: str
    kind: str = ""
    why: str = ""


class Decider:
    """The one place where a search's next step is decided.

    study:    the ledger. Trials it calls running belonged to a driver that is gone: they are handed out first.
    job:      what is searched, and what each point of it means.
    """

    def __init__(self, study: optuna.Study, job: Job) -> None:
        self.study, self.job = study, job
        self.exhausted = False
        first = job.settings.seed
        self._seeds = range(first, first + job.settings.seeds)
        self._live: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}  # of the trials that have ended or run, by signature
        self._queue: deque[tuple[dict[str, Any], int]] = deque()  # (parameters, seed) to be asked for by name
        self._wanted = {work.trial.signature() for work in job.grid()} if job.space.grid is not None else None
        self._give_up_waiting()
        self._left_running = self._take_over()
        self._points = 0 if job.space.grid is not None else self._count_points()
        self._fill_queue()

    def next(self) -> Assignment | None:
        """The next trial to run; None when the search has all it wants."""
        if self._left_running:
            return self._left_running.pop(0)
        known = 0
        while self._wants_more():
            if assignment := self._ask():
                return assignment
            known += 1
            if self._wanted is None and known % REPEATED_ASKS == 0 and not self._queue_unseen():
                self.exhausted = True
                return None
        return None

    def record(self, number: int, epoch: int, value: float) -> None:
        """Write down an epoch's validation score, once."""
        trial = self._live[number]
        if epoch not in self.study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, epoch)

    def should_stop(self, number: int) -> bool:
        """Whether the pruner would end the trial after the epochs it has shown."""
        return self._live[number].should_prune()

    def finish(self, number: int, result: Mapping[str, Any]) -> None:
        """The trial trained to its end: its value is the validation ROC-AUC of the weights that count."""
        self._catch_up(number)
        self.study.tell(self._live.pop(number), result["valid"]["roc_auc"])

    def prune(self, number: int) -> None:
        """The trial was stopped early; its epochs stay in the ledger."""
        self._catch_up(number)
        self.study.tell(self._live.pop(number), state=TrialState.PRUNED)

    def fail(self, number: int, kind: str, why: str) -> None:
        """The trial ended without a result. It is not tried again by this driver; the next one tries a grid's."""
        trial = self._live.pop(number)
        trial.set_user_attr("failure", {"kind": kind, "why": why})
        self.study.tell(trial, state=TrialState.FAIL)

    def settled(self) -> list[Ended]:
        """How each training of this search ended last, in the order of the ledger."""
        found: dict[str, Ended] = {}
        for trial, settings in settings_of(self.study, tuple(OUTCOMES)):
            assignment = Assignment(trial.number, settings)
            failure = trial.user_attrs.get("failure", {"kind": "", "why": ""})
            ended = Ended(assignment, OUTCOMES[trial.state], failure["kind"], failure["why"])
            if self._is_of_this_search(settings) and failure["kind"] != UNWANTED:
                found[assignment.signature] = ended
        return list(found.values())

    def ended(self) -> list[Assignment]:
        """The trials of this search that trained to their end."""
        return [each.assignment for each in self.settled() if each.outcome == "done"]

    def failures(self) -> list[Ended]:
        """The trainings that failed and have not ended well since."""
        return [each for each in self.settled() if each.outcome == "failed"]

    def has_all(self) -> bool:
        """Nothing is left to train."""
        return not self._left_running and not self._wants_more()

    def expected(self) -> int:
        """How many trainings the search consists of, those already done included."""
        return len(self._wanted) if self._wanted is not None else self.job.settings.trials * len(self._seeds)

    def missing(self) -> int:
        """How many of them have not ended."""
        if self._wanted is not None:
            return len(self._queue) + len(self._left_running)
        return max(self.expected() - len(self.settled()), 0)

    def _is_of_this_search(self, settings: TrialSettings) -> bool:
        """Whether this command asks for that training: another one of the same study may have asked for more."""
        if self._wanted is not None:
            return settings.signature() in self._wanted
        return settings.seed in self._seeds

    def _is_settled(self, trial: FrozenTrial, signature: str) -> bool:
        """Whether nothing of a trial is left to train. A result that is gone from its folder is to be made again."""
        if trial.state == TrialState.PRUNED:
            return self.job.settings.pruner.name != "NopPruner"  # without a pruner all are to reach their end
        return trial.state == TrialState.COMPLETE and files.read_result(signature) is not None

    def _give_up_waiting(self) -> None:
        """A driver that was killed between queueing a trial and asking for it leaves one behind."""
        for _ in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.tell(self.study.ask(), state=TrialState.FAIL)

    def _take_over(self) -> list[Assignment]:
        """Trials of an interrupted driver, ready to go on; those that nobody wants any more are given up."""
        left = []
        for trial, settings in settings_of(self.study, (*OUTCOMES, TrialState.RUNNING)):
            signature = settings.signature()
            if self._is_settled(trial, signature):
                self._numbers[signature] = trial.number
            if trial.state == TrialState.RUNNING:
                self._live[trial.number] = optuna.Trial(self.study, trial._trial_id)
                left += self._resumed(trial.number, settings)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._live:
                self._live[trial.number] = optuna.Trial(self.study, trial._trial_id)
                self.fail(trial.number, UNWANTED, "the search stopped before this trial had settings")
        return left

    def _resumed(self, number: int, settings: TrialSettings) -> list[Assignment]:
        signature = settings.signature()
        if not self._is_of_this_search(settings):
            self.fail(number, UNWANTED, "this command does not ask for it; its folder keeps what was trained")
            return []
        self._numbers[signature] = number
        self._catch_up(number)
        if result := files.read_result(signature):
            self.finish(number, result)
            return []
        return [Assignment(number, settings)]

    def _count_points(self) -> int:
        """How many different points of a sampled space have been tried, failed ones included."""
        tried = settings_of(self.study, (*OUTCOMES, TrialState.RUNNING))
        return len({settings.signature() for _, settings in tried if settings.seed == self._seeds[0]})

    def _fill_queue(self) -> None:
        """What a grid still lacks, or the seeds that known points of a sampled space still lack."""
        if self.job.space.grid is not None:
            for seed in self._seeds:
                for params, point in zip(self.job.space.grid, self.job.space.points(), strict=True):
                    if self.job.resolve(point, seed).signature() not in self._numbers:
                        self._queue.append((dict(params), seed))
            return
        for trial, settings in settings_of(self.study, (*OUTCOMES, TrialState.RUNNING)):
            if settings.seed == self._seeds[0] and trial.state != TrialState.FAIL:
                self._queue_replicates(trial.params, settings)

    def _queue_replicates(self, params: dict[str, Any], settings: TrialSettings) -> None:
        for seed in self._seeds[1:]:
            if replace(settings, seed=seed).signature() not in self._numbers:
                self._queue.append((params, seed))

    def _wants_more(self) -> bool:
        return bool(self._queue) or (self._wanted is None and self._points < self.job.settings.trials)

    def _ask(self) -> Assignment | None:
        """Ask the study once; None if what it proposes needs no training."""
        seed = self._seeds[0]
        if self._queue:
            params, seed = self._queue.popleft()
            self.study.enqueue_trial(params)
        trial = self.study.ask()
        settings = self.job.resolve(self.job.space.at(trial), seed)
        signature = settings.signature()
        if signature in self._numbers:
            self._tell_duplicate(trial, self._numbers[signature])
            return None
        self._live[trial.number] = trial
        self._numbers[signature] = trial.number
        trial.set_user_attr("signature", signature)
        trial.set_user_attr("settings", json.dumps(settings.to_json()))
        if self._wanted is None and seed == self._seeds[0]:
            self._points += 1
            self._queue_replicates(trial.params, settings)
        self._catch_up(trial.number)
        if result := files.read_result(signature):  # trained by another search
            self.finish(trial.number, result)
            return None
        return Assignment(trial.number, settings)

    def _tell_duplicate(self, trial: optuna.Trial, number: int) -> None:
        """End a proposal that is known: with its value where there is one, so that the sampler moves on."""
        trial.set_user_attr("duplicate_of", number)
        known = self.study.get_trials(deepcopy=False)[number]
        if known.state == TrialState.COMPLETE:
            self.study.tell(trial, known.value)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _queue_unseen(self) -> bool:
        """Queue a point that has never been tried; False if random draws find none."""
        draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(self._numbers)))
        for _ in range(RANDOM_DRAWS):
            drawn = draws.ask()
            if self.job.resolve(self.job.space.at(drawn), self._seeds[0]).signature() not in self._numbers:
                self._queue.append((drawn.params, self._seeds[0]))
                return True
        return False

    def _catch_up(self, number: int) -> None:
        """Write down the epochs that the trial's folder has and the ledger lacks."""
        settings = self.study._storage.get_trial(self._live[number]._trial_id).user_attrs.get("settings")
        if settings is None:
            return
        for row in files.read_epochs(TrialSettings.from_json(json.loads(settings)).signature()):
            self.record(number, row["epoch"], row["valid_roc_auc"])
