"""When a trial is stopped early: Optuna's pruners, asked about a copy in memory of what the ledger says.

All that a pruner goes by is rebuilt from the ledger, trial by trial and step by step, so a driver that was started
again stops what the one before would have stopped. The copy also decides what a step is: an epoch, or a whole stage.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from search.errors import ConfigError
from search.settings import Choice, Settings
from search.study.chosen import make

Epochs = Sequence[tuple[int, float]]  # (stage, AUC) of each epoch in order


def pruner_of(settings: Settings) -> optuna.pruners.BasePruner:
    """The pruner that the words ask for, with nothing left for it to guess from whichever trial ends first.

    raises: ConfigError if Optuna has none of that name, or it does not take the arguments.
    """
    wanted, training = settings.pruner, settings.training
    arguments = dict(wanted.arguments)
    stages = len(training.learning_rates)
    steps = stages if wanted.rungs == "stage" else training.planned_epochs
    if wanted.name == "HyperbandPruner" and arguments.get("max_resource", "auto") == "auto":
        least = arguments.get("min_resource", 1)
        arguments["max_resource"] = max(steps, least) if isinstance(least, int) else steps
    if wanted.name == "SuccessiveHalvingPruner" and arguments.get("min_resource", "auto") == "auto":
        arguments["min_resource"] = 1
    if wanted.name == "PatientPruner":
        arguments["wrapped_pruner"] = _wrapped(arguments.get("wrapped_pruner", "median"))
    made: optuna.pruners.BasePruner = make(Choice(wanted.name, arguments), optuna.pruners)
    _try(made, Choice(wanted.name, wanted.arguments))
    return made


def _try(pruner: optuna.pruners.BasePruner, wanted: Choice) -> None:
    """raises: ConfigError if it has taken an argument that it can't work with."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=copy.deepcopy(pruner))
    trial = study.ask()
    trial.report(0.5, 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            trial.should_prune()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{wanted.name} can't work with {dict(wanted.arguments)}: {error}") from error


def _wrapped(name: str | None) -> optuna.pruners.BasePruner | None:
    """What a patient pruner waits for to agree: the median of the others, or nobody."""
    if name is None:
        return None
    if name != "median":
        raise ConfigError(f"pruner.arguments.wrapped_pruner={name}: give median, or null for none")
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)


def steps_of(epochs: Epochs, rungs: str) -> list[tuple[int, float]]:
    """What a pruner gets to see of a trial: (step, AUC), steps from 1.

    A stage is seen when it has ended, which shows in the first epoch of the next one; its AUC is its best epoch's.
    """
    if rungs == "epoch":
        return [(epoch, auc) for epoch, (_, auc) in enumerate(epochs, 1)]
    running = epochs[-1][0] if epochs else 0
    return [(stage + 1, max(auc for at, auc in epochs if at == stage)) for stage in range(running)]


class Stopper:
    """Asks a pruner about running trials.

    name: of the study; Hyperband deals trials out to its brackets by it.
    rungs: "epoch" or "stage". Trials are entered in the order of the ledger, whatever became of them.
    """

    def __init__(self, name: str, pruner: optuna.pruners.BasePruner, rungs: str) -> None:
        self.rungs = rungs
        sampler = optuna.samplers.RandomSampler(seed=0)
        self._study = optuna.create_study(
            study_name=name, direction="maximize", sampler=sampler, pruner=pruner
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._epochs: dict[int, list[tuple[int, float]]] = {}
        self._seen: dict[int, int] = {}
        self._stops: dict[int, bool] = {}

    def enter(self, number: int) -> None:
        """A trial begins."""
        self._trials[number] = self._study.ask()
        self._epochs[number], self._seen[number], self._stops[number] = [], 0, False

    def report(self, number: int, stage: int, auc: float) -> None:
        """One more epoch of a trial, its stage counted from 0."""
        epochs, trial = self._epochs[number], self._trials[number]
        epochs.append((stage, auc))
        # Every step is put before the pruner, those of trials that are over too: successive halving remembers who has
        # reached a rung by having been asked.
        for step, value in steps_of(epochs, self.rungs)[self._seen[number] :]:
            trial.report(value, step)
            self._seen[number] += 1
            self._stops[number] |= bool(trial.should_prune())

    def should_stop(self, number: int) -> bool:
        """Whether the pruner would have ended the trial by now; what it says of a trial once counts from then on."""
        return self._stops[number]

    def decided(self, number: int, stops: bool) -> None:
        """What had been decided of a trial whose epochs were reported again."""
        self._stops[number] = stops

    def end(self, number: int, state: TrialState, auc: float | None = None) -> None:
        """The trial is over; one that never began is none."""
        if number in self._trials:
            self._study.tell(self._trials.pop(number), auc, state=state)
            del self._epochs[number]


def worth_another_seed(
    pruner: optuna.pruners.BasePruner, scores: Mapping[str, Sequence[float]], candidate: str
) -> bool:
    """Whether a network should be trained with one more seed.

    scores: the AUCs of each network's seeds, in the order of the seeds. Only networks with as many seeds as the
    candidate are compared with it, seed by seed.
    """
    shown = scores[candidate]
    rivals = [each for name, each in scores.items() if name != candidate and len(each) >= len(shown)]
    if not shown or not rivals:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner
        )
        for each in rivals:
            _told(study, each[: len(shown)])
        trial = study.ask()
        for step, auc in enumerate(shown, 1):
            trial.report(auc, step)
        return not trial.should_prune()


def _told(study: optuna.Study, scores: Sequence[float]) -> None:
    """A network whose seeds have ended: its value is their mean."""
    trial = study.ask()
    for step, auc in enumerate(scores, 1):
        trial.report(auc, step)
    study.tell(trial, sum(scores) / len(scores))
