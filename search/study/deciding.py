"""What to train next, when to stop it, how it ended: Optuna decides and remembers.

Nothing here places or runs a trial. `Decider.next` hands out assignments until there are none left, whoever asks.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search import files
from search.outcome import FAILURE, OF_STATE, Outcome, failure_of
from search.planning.grouping import kind
from search.planning.job import Job
from search.settings import TrialSettings
from search.study import objectives, pruning, sampling
from search.study.assignment import Assignment, Ended
from search.study.hopes import Hopes
from search.study.ledger import enter, settings_of
from search.study.records import ELSEWHERE, GPUS, REJECTED, TOGETHER, UNWANTED, WORK
from search.study.sampling import UNTRAINABLE
from search.study.stopping import Stops
from search.study.turns import Turns

# A sampler that proposes what is known is asked again this often, then `sampling.others` is
REPEATED_ASKS = 20
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Decider:
    """The one place where a search's next step is decided.

    study:    the ledger. Trials it calls running belonged to a driver that is gone: they are handed out first.
    job:      what is searched, and what each point of it means.
    exhausted: nothing is left that was not tried. rejected: proposals that are no network, by the reason.
    """

    def __init__(self, study: optuna.Study, job: Job) -> None:
        self.study, self.job = study, job
        self.exhausted = False
        self.rejected: Counter[str] = Counter()
        first = job.settings.seed
        self._seeds = range(first, first + job.settings.seeds)
        self._live: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}  # of the trials that have ended or run, by signature
        self._queue: deque[tuple[dict[str, Any], int]] = deque()  # (parameters, seed) to be asked for by name
        self._wanted = {work.trial.signature() for work in job.grid()} if job.space.grid is not None else None
        self._turns = Turns(job.space, job.settings.trials)
        self._kinds: set[str] = set()  # of the trials that were ever asked for
        self._known: dict[str, TrialSettings] = {}  # of a first seed, by the parameters of a point
        pruner = pruning.pruner_of(job.settings)
        self._hopes = Hopes(study, job, pruner, self._is_of_this_search)
        sampling.add_prior(study, job)
        self._give_up_waiting()
        self._stops = Stops(study, job.settings.pruner, pruner)
        self._left_running = self._take_over()
        if job.space.grid is None:
            for trial, settings in settings_of(study, (*ENDED, TrialState.RUNNING)):
                if settings.seed == first:
                    self._turns.note(settings.signature(), trial.params)
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
            looks = self._wanted is None and not self._turns.are_over
            if looks and known % REPEATED_ASKS == 0 and not self._queue_unseen():
                self._turns.spend()
                self.exhausted = self._turns.are_over
        return None

    def next_known(self, wanted: Callable[[TrialSettings], bool]) -> Assignment | None:
        """The next trial that is wanted of those that are known to come, before those in front of it.

        Where the pruner compares the seeds of a network, those after the first wait for each other. wanted: asked for
        settings, of any seed.
        """
        for at, left in enumerate(self._left_running):
            if wanted(left.settings):
                return self._left_running.pop(at)
        for params, seed in [*self._queue]:
            waits = self._hopes.judges and seed != self._seeds[0]
            if not waits and wanted(self._settings_at(params)):
                self._queue.remove((params, seed))
                self._queue.appendleft((params, seed))
                if assignment := self._ask():
                    return assignment
        return None

    def propose_beside(self, one: Assignment) -> Assignment | None:
        """A new proposal that may be of the same network as this trial, or another; None where one isn't due."""
        if not self._wants_more() or self._queue:
            return None
        row = self._turns.row_of(self._live[one.number].params)
        alike = (
            self._turns.fixed(row) or len(self._kinds) == 1
        )  # else the next is very likely of another kind
        return self._ask(row) if alike and self._turns.is_due(row) else None

    def record(self, number: int, epoch: int, value: float, stage: int | None = None) -> None:
        """Write down an epoch's validation score, once.

        stage: of the schedule, counted from 0; looked up in the trial's folder where a pruner asks for it.
        """
        trial_id = self._live[number]._trial_id
        if epoch in self.study._storage.get_trial(trial_id).intermediate_values:
            return
        if self._stops.by_stage and stage is None:
            stage = self._stage_of(number, epoch)
        self._stops.report(self._live[number], epoch, value, stage or 0)
        # Not `Trial.report`, which Optuna refuses where there are several objectives.
        self.study._storage.set_trial_intermediate_value(trial_id, epoch, value)

    def note_gpus(self, number: int, gpus: float) -> None:
        """Write down how many GPUs a trial has, or what part of one."""
        self._live[number].set_user_attr(GPUS, gpus)

    def note_together(self, number: int, trials: int) -> None:
        """Write down how many trials share its process."""
        if trials != self._live[number].user_attrs.get(TOGETHER, 1):
            self._live[number].set_user_attr(TOGETHER, trials)

    def should_stop(self, number: int) -> bool:
        """Whether the pruner would end the trial after the epochs it has shown."""
        return self._stops.should_stop(number)

    def finish(self, number: int, result: Mapping[str, Any]) -> None:
        """The trial trained to its end: its values are those of the weights that count, on the validation clips."""
        self._catch_up(number)
        values = objectives.values(self.job, self._settings_of(number), result)
        self.study.tell(self._live.pop(number), values)
        self._stops.end(number, TrialState.COMPLETE, values[0])

    def prune(self, number: int) -> None:
        """The trial was stopped early; its epochs stay in the ledger."""
        self._catch_up(number)
        self.study.tell(self._live.pop(number), state=TrialState.PRUNED)
        self._stops.end(number, TrialState.PRUNED)

    def fail(self, number: int, kind: str, why: str) -> None:
        """The trial ended without a result. It is not tried again by this driver; the next one tries a grid's."""
        trial = self._live.pop(number)
        trial.set_user_attr(FAILURE, {"kind": kind, "why": why})
        self.study.tell(trial, state=TrialState.FAIL)
        self._stops.end(number, TrialState.FAIL)

    def settled(self) -> list[Ended]:
        """How each training of this search ended last, in the order of the ledger."""
        found: dict[str, Ended] = {}
        for trial, settings in settings_of(self.study, ENDED):
            state = trial.state.name
            failure = failure_of(state, trial.user_attrs)
            ended = Ended(Assignment(trial.number, settings), OF_STATE[state], *failure)
            if self._is_of_this_search(settings) and ended.kind != UNWANTED:
                found[ended.assignment.signature] = ended
        return list(found.values())

    def ended(self) -> list[Assignment]:
        """The trials of this search that trained to their end."""
        return [each.assignment for each in self.settled() if each.outcome is Outcome.DONE]

    def best(self) -> tuple[str, float] | None:
        """The network that scored best on the validation clips so far, and its AUC; None where none is known."""
        if self.job.settings.looked_for[0].name != "auc":
            return None
        ended = [
            (settings.network, trial.values[0])
            for trial, settings in settings_of(self.study)
            if self._is_of_this_search(settings)
        ]
        return max(ended, key=lambda pair: pair[1], default=None)

    def failures(self) -> list[Ended]:
        """The trainings that failed and have not ended well since."""
        return [each for each in self.settled() if each.outcome is Outcome.FAILED]

    def has_all(self) -> bool:
        """Nothing is left to train."""
        return not self._left_running and not self._wants_more()

    def expected(self) -> int:
        """How many trainings the search consists of, those already done included."""
        asked = self.job.settings.trials * len(self._seeds) if self._wanted is None else len(self._wanted)
        return asked - len(self._hopes.abandoned)

    def missing(self) -> int:
        """How many of them have not ended."""
        if self._wanted is not None:
            return len(self._queue) + len(self._left_running)
        over = [
            each
            for each in self.settled()
            if each.outcome is Outcome.FAILED or each.assignment.signature in self._numbers
        ]
        return max(self.expected() - len(over), 0)

    def _is_of_this_search(self, settings: TrialSettings) -> bool:
        """Whether this command asks for that training: another one of the same study may have asked for more."""
        if self._wanted is not None:
            return settings.signature() in self._wanted
        return settings.seed in self._seeds

    def _is_settled(self, trial: FrozenTrial, signature: str) -> bool:
        """Whether nothing of a trial is left to train. A result that is gone from its folder is to be made again."""
        if trial.state == TrialState.PRUNED:
            return self.job.settings.pruner.stops  # without a pruner all are to reach their end
        return trial.state == TrialState.COMPLETE and files.read_result(signature) is not None

    def _give_up_waiting(self) -> None:
        """What someone queued by Optuna's own means would come in place of what is asked for next."""
        for _ in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.tell(self.study.ask(), state=TrialState.FAIL)

    def _take_over(self) -> list[Assignment]:
        """Trials of an interrupted driver, ready to go on; those that nobody wants any more are given up."""
        left = []
        for trial, settings in settings_of(self.study, (*ENDED, TrialState.RUNNING)):
            signature = settings.signature()
            self._kinds.add(kind(settings))
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
        return [left] if (left := self._taken_up(number, settings)) else []

    def _taken_up(self, number: int, settings: TrialSettings) -> Assignment | None:
        """A trial with all that its folder has of it; None if nothing of it is left to do."""
        self._catch_up(number)
        if result := files.read_result(settings.signature()):
            self.finish(number, result)
            return None
        rows = files.read_epochs(settings.signature())
        is_trained = bool(rows) and rows[-1].get("last", False)  # then its test clips alone are left
        if self.should_stop(number) and not is_trained:
            self.prune(number)
            return None
        return Assignment(number, settings)

    def _fill_queue(self) -> None:
        """What a grid still lacks, or known points of a sampled space: a result that is gone, and seeds."""
        if self.job.space.grid is not None:
            for seed in self._seeds:
                for params, point in zip(self.job.space.grid, self.job.space.points(), strict=True):
                    if self.job.resolve(point, seed).signature() not in self._numbers:
                        self._queue.append((dict(params), seed))
            self._queue = deque(work for work in self._queue if not self._is_hopeless(*work))
            return
        known = {
            settings.signature(): (trial.params, settings)
            for trial, settings in settings_of(self.study, (*ENDED, TrialState.RUNNING))
            if settings.seed == self._seeds[0] and trial.state != TrialState.FAIL
        }
        for signature, (params, settings) in known.items():
            if signature not in self._numbers:
                self._queue.append((params, settings.seed))
            self._queue_replicates(params, settings)
        self._queue = deque(work for work in self._queue if not self._is_hopeless(*work))

    def _queue_replicates(self, params: dict[str, Any], settings: TrialSettings) -> None:
        for seed in self._seeds[1:]:
            if replace(settings, seed=seed).signature() not in self._numbers:
                self._queue.append((params, seed))

    def _wants_more(self) -> bool:
        if self._queue or self._wanted is not None:
            return bool(self._queue)
        return self._turns.want_more()

    def _ask(self, row: int | None = None) -> Assignment | None:
        """Ask the study once; None if what it proposes needs no training. row: in place of the one whose turn it is."""
        seed = self._seeds[0]
        if self._queue:
            params, seed = self._queue.popleft()
            if self._is_hopeless(params, seed):
                return None
            self.study.enqueue_trial(params)
        elif fixed := self._turns.fixed(self._turns.next() if row is None else row):
            self.study.enqueue_trial(dict(fixed))
        trial = self.study.ask()
        try:
            settings = self.job.resolve(self.job.space.at(trial), seed)
        except UNTRAINABLE as error:
            self._reject(trial, str(error))
            return None
        signature = settings.signature()
        if signature in self._numbers:
            self._tell_duplicate(trial, self._numbers[signature])
            return None
        self._live[trial.number] = trial
        self._numbers[signature] = trial.number
        self._kinds.add(kind(settings))
        trial.set_user_attr(WORK, self.job.work(settings, exact=False).total)
        enter(trial, settings)
        self._stops.enter(trial.number)
        if self._wanted is None and seed == self._seeds[0] and not self._turns.has_tried(signature):
            self._turns.note(signature, trial.params)
            self._queue_replicates(trial.params, settings)
        if files.read_result(signature):  # trained by another search
            trial.set_user_attr(ELSEWHERE, True)
        return self._taken_up(trial.number, settings)

    def _reject(self, trial: optuna.Trial, why: str) -> None:
        """End a proposal that is no network, so that the sampler moves on. A grid has none: they were sorted out."""
        self.rejected[why] += 1
        trial.set_user_attr(REJECTED, why)
        self.study.tell(trial, state=TrialState.FAIL)

    def _tell_duplicate(self, trial: optuna.Trial, number: int) -> None:
        """End a proposal that is known: with its value where there is one, so that the sampler moves on."""
        trial.set_user_attr("duplicate_of", number)
        known = self.study.get_trials(deepcopy=False)[number]
        if known.state == TrialState.COMPLETE:
            self.study.tell(trial, known.values)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _queue_unseen(self) -> bool:
        """Queue a point of the row whose turn it is that has never been tried; False if there is none left."""
        seed = self._seeds[0]
        for params in self._turns.others(len(self._numbers)):
            with suppress(*UNTRAINABLE):
                if self._resolved(params, seed).signature() not in self._numbers:
                    self._queue.append((params, seed))
                    return True
        return False

    def _resolved(self, params: Mapping[str, Any], seed: int) -> TrialSettings:
        return self.job.resolve(self.job.space.at(optuna.trial.FixedTrial(dict(params))), seed)

    def _settings_at(self, params: Mapping[str, Any]) -> TrialSettings:
        """Of the first seed."""
        at = json.dumps(params, sort_keys=True)
        if at not in self._known:
            self._known[at] = self._resolved(params, self._seeds[0])
        return self._known[at]

    def _is_hopeless(self, params: Mapping[str, Any], seed: int) -> bool:
        return self._hopes.judges and self._hopes.is_hopeless(self._resolved(params, seed))

    def _settings_of(self, number: int) -> TrialSettings:
        attributes = self.study._storage.get_trial(self._live[number]._trial_id).user_attrs
        return TrialSettings.from_json(json.loads(attributes["settings"]))

    def _catch_up(self, number: int) -> None:
        """Write down the epochs that the trial's folder has and the ledger lacks."""
        for row in files.read_epochs(self._settings_of(number).signature()):
            self.record(number, row["epoch"], row["valid_roc_auc"], row.get("stage"))

    def _stage_of(self, number: int, epoch: int) -> int:
        """The stage of an epoch by the trial's folder."""
        rows = files.read_epochs(self._settings_of(number).signature())
        return next((row["stage"] for row in rows if row["epoch"] == epoch), 0)
