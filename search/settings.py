"""The records of a search: what the user asked for, and what makes a trial the trial it is.

Every record refuses at the door; the parts of the search take plain values from it.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from datasets.errors import nearest
from search.checks import (
    A_NAME,
    AUTO,
    LOCAL,
    check_address,
    check_ledger,
    check_storage,
    check_tracking,
    is_name,
    is_number,
)
from search.errors import ConfigError

OPTIMIZERS = ("nesterov", "sgd", "adam", "adagrad")
PRECISIONS = FLOAT32, WINOGRAD, TF32, BF16 = "float32", "winograd", "tf32", "bf16"
RUNGS = ("epoch", "stage", "seed")
PLANNED_EPOCHS = 40  # how many the paper's schedule takes is known when it ends; planned with this many
# What a search can look for, and which way of it is better where the words don't say.
OBJECTIVES = {
    "auc": "max",
    "pr_auc": "max",
    "loss": "min",
    "macs": "min",
    "parameters": "min",
    "memory": "min",
    "seconds": "min",
}
MOST_TOGETHER = 16
MOST_SEED, MOST_SEEDS = 2**31 - 1, 1_000  # samplers count on from the first one, in 32 bits


@dataclass(frozen=True)
class Training:
    """How a network is trained: the stages, and when one of them ends.

    learning_rates:  one stage each; a stage starts from the best weights of the one before.
    patience:        a stage ends with the epoch after this many epochs in a row without a new best.
    optimizer:       one of OPTIMIZERS; each stage starts a fresh one. momentum: what "nesterov" keeps of a step.
    weight_decay:    times the weight, is added to its gradient.
    lr_decay:        per update, inside a stage: rate / (1 + lr_decay * updates).
    norm_momentum:   share of a new batch in batch norm's running statistics. The authors' 0.01 takes some hundred
                     updates to forget where it started, so short budgets want more.
    crops:           random places of the clip instead of the fixed segments.
    multiply_adds_per_epoch:  the forward operations of an epoch's training segments are kept below
                     this, by taking fewer segments; None takes the whole split.
    one_cycle:       a stage is one cycle instead: over its epochs_per_stage, none of which is left out, the rate climbs
                     to the stage's rate in the first WARM_SHARE of the updates and falls to nothing along a cosine.
    precision:       "float32"; or on processors "winograd" (float32 by fewer products, which rounds up to five times as
                     much); or on GPUs that have it "tf32" (products of matrices of numbers with ten binary digits) or
                     "bf16" (activations of eight, half as many bytes). Scores are taken in float32 always.
    source: Lee et al. 2017, section 4.2, and the authors' code for what the paper leaves out. Smith and Topin 2018,
            https://arxiv.org/abs/1708.07120, for the one cycle.
    """

    learning_rates: tuple[float, ...] = (0.01, 0.002, 0.0004, 0.00008, 0.000016)
    epochs_per_stage: int = 1000
    patience: int = 3
    batch_size: int = 23
    optimizer: str = "nesterov"
    momentum: float = 0.9
    weight_decay: float = 0.0
    lr_decay: float = 1e-6
    norm_momentum: float = 0.01
    crops: bool = False
    multiply_adds_per_epoch: float | None = None
    one_cycle: bool = False
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        rates = self.learning_rates
        if not isinstance(rates, list | tuple) or not rates or not all(is_number(r) and r > 0 for r in rates):
            raise ConfigError(
                f"budget.learning_rates={rates}: give one rate above 0 for each stage, as [0.01, 0.002]"
            )
        object.__setattr__(self, "learning_rates", tuple(float(rate) for rate in rates))
        if self.batch_size < 2:
            raise ConfigError(f"budget.batch_size={self.batch_size}: batch norm needs 2 or more")
        if self.epochs_per_stage < 1:
            raise ConfigError(f"budget.epochs_per_stage={self.epochs_per_stage}: a stage has 1 epoch or more")
        if self.patience < 0:
            raise ConfigError(f"budget.patience={self.patience}: give 0 or more epochs")
        if self.optimizer not in OPTIMIZERS:
            near = nearest(self.optimizer, OPTIMIZERS, most=1, key="budget.optimizer=")
            raise ConfigError(f"budget.optimizer={self.optimizer} is not known; {near}")
        if not 0 <= self.weight_decay < 1:
            raise ConfigError(f"budget.weight_decay={self.weight_decay}: give a number from 0 to below 1")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"budget.momentum={self.momentum}: give a number from 0 to below 1")
        if not 0 <= self.lr_decay < math.inf:
            raise ConfigError(f"budget.lr_decay={self.lr_decay}: give 0, or a number above")
        if not 0 < self.norm_momentum <= 1:
            raise ConfigError(f"budget.norm_momentum={self.norm_momentum}: give a number above 0, at most 1")
        if self.precision not in PRECISIONS:
            near = nearest(str(self.precision), PRECISIONS, most=1, key="budget.precision=")
            raise ConfigError(f"budget.precision={self.precision} is not known; {near}")
        most = self.multiply_adds_per_epoch
        if most is not None and not (is_number(most) and most > 0):
            raise ConfigError(
                f"budget.multiply_adds_per_epoch={most}: give a number above 0, or null for the whole split"
            )

    def segments_per_epoch(self, segments: int, multiply_adds: int) -> int:
        """How many of the split's `segments` an epoch takes of a network with these forward operations.

        At least two batches, so that every network learns something.
        """
        if self.multiply_adds_per_epoch is None:
            return segments
        affordable = int(self.multiply_adds_per_epoch // multiply_adds)
        return min(segments, max(affordable, 2 * self.batch_size))

    def changed(self, first_learning_rate: float | None = None, **changes: Any) -> "Training":
        """The same schedule with other values; `first_learning_rate` scales the rates of all stages alike."""
        if first_learning_rate is not None:
            scale = first_learning_rate / self.learning_rates[0]
            changes["learning_rates"] = tuple(rate * scale for rate in self.learning_rates)
        if unknown := set(changes) - set(vars(self)):
            raise ConfigError(
                f"a training has no setting {sorted(unknown)[0]!r}; it has {', '.join(vars(self))}"
            )
        return replace(self, **changes)

    @property
    def planned_epochs(self) -> int:
        """What a plan counts with: of a schedule that ends when the loss stands still, PLANNED_EPOCHS at most."""
        return self.longest_epochs if self.one_cycle else min(self.longest_epochs, PLANNED_EPOCHS)

    @property
    def longest_epochs(self) -> int:
        """The most epochs that the schedule can take."""
        return self.epochs_per_stage * len(self.learning_rates)


@dataclass(frozen=True)
class Cluster:
    """Where trials run, how much of it each one gets, and where they lie if the machines share no disk.

    epoch_minutes: after so long an epoch is taken to hang, and its process is ended.
    together:      how many trials a process trains step by step together, of one network or of several.
    gpus, device: how many GPUs of which kind a plan is made for; a search takes what it finds at the address.
    """

    address: str = LOCAL
    cpus_per_trial: int | str = AUTO
    gpus_per_trial: float | str = AUTO
    trials_at_once: int | str = AUTO
    storage: str | None = None
    epoch_minutes: float | str = AUTO
    together: int | str = AUTO
    gpus: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        check_address(self.address)
        if self.storage is not None:
            check_storage(self.storage)
        cpus = self.cpus_per_trial
        if cpus != AUTO and not (type(cpus) is int and cpus >= 1):
            raise ConfigError(f"cluster.cpus_per_trial={cpus}: give 'auto', or 1 or more")
        if self.device is not None and self.gpus is None:
            raise ConfigError(f"cluster.device={self.device}: say how many of them by cluster.gpus=N")
        if self.gpus is not None and not (type(self.gpus) is int and self.gpus >= 0):
            raise ConfigError(f"cluster.gpus={self.gpus}: give 0 or more GPUs, for which the plan is made")
        gpus, at_once = self.gpus_per_trial, self.trials_at_once
        if gpus != AUTO and not (is_number(gpus) and gpus >= 0 and (gpus < 1 or gpus == int(gpus))):
            raise ConfigError(
                f"cluster.gpus_per_trial={gpus}: give 'auto', a part of one GPU (0.5 shares it), or a whole number"
            )
        if at_once != AUTO and not (isinstance(at_once, int) and at_once >= 1):
            raise ConfigError(f"cluster.trials_at_once={at_once}: give 'auto', or 1 or more")
        several = self.together
        if several != AUTO and not (type(several) is int and 1 <= several <= MOST_TOGETHER):
            raise ConfigError(f"cluster.together={several}: give 'auto', or 1 to {MOST_TOGETHER}")
        if several not in (AUTO, 1) and is_number(gpus) and gpus > 1:
            raise ConfigError(
                f"cluster.together={several}: a trial that takes {gpus:g} GPUs goes alone; give 'auto', or at most "
                f"cluster.gpus_per_trial=1"
            )
        minutes = self.epoch_minutes
        if minutes != AUTO and not (is_number(minutes) and minutes > 0):
            raise ConfigError(f"cluster.epoch_minutes={minutes}: give 'auto', or a number above 0")


@dataclass(frozen=True)
class Limits:
    """The most that a search may take: hours of GPUs by all its commands together, and hours by the clock of each.

    Where trials train on processors, gpu_hours counts the hours of the trials. None: no limit. No trial's result
    depends on them, so no signature does.
    """

    gpu_hours: float | None = None
    wall_hours: float | None = None

    def __post_init__(self) -> None:
        for name, hours in vars(self).items():
            if hours is not None and not (is_number(hours) and hours > 0):
                raise ConfigError(f"budget.{name}={hours}: give hours above 0, or null for no limit")


@dataclass(frozen=True)
class Choice:
    """A sampler of Optuna: the name of its class, and what it is made with."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stopping:
    """A pruner of Optuna, and what it counts.

    rungs: "epoch" compares trials at equal epochs. "stage" compares them at the end of each stage of the schedule, by
           the stage's best epoch: fair where networks take stages of different length, as two at one epoch then learn
           at different rates. "seed" compares trained networks and ends the replicates of those that are worse.
    """

    name: str = "NopPruner"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rungs: str = "epoch"

    def __post_init__(self) -> None:
        if self.rungs not in RUNGS:
            raise ConfigError(f"pruner.rungs={self.rungs}: {nearest(str(self.rungs), RUNGS, most=1)}")

    @property
    def stops(self) -> bool:
        """Whether it ever stops anything."""
        return self.name != "NopPruner"


@dataclass(frozen=True)
class Objective:
    """Something that a search looks for: its name, and whether "max" or "min" of it is wanted."""

    name: str
    direction: str

    @classmethod
    def of(cls, word: str) -> "Objective":
        """The objective of a word such as `macs:min`, or `macs` for the way that is better."""
        name, colon, direction = str(word).partition(":")
        if name not in OBJECTIVES:
            raise ConfigError(f"objectives: nothing is called '{name}'; {nearest(name, OBJECTIVES, most=1)}")
        if colon and direction not in ("max", "min"):
            raise ConfigError(f"objectives: {word} is neither {name}:max nor {name}:min")
        return cls(name, direction or OBJECTIVES[name])

    def __str__(self) -> str:
        return f"{self.name}:{self.direction}"


@dataclass(frozen=True)
class Settings:
    """A whole search as it was asked for, every `auto` that needs no cluster resolved."""

    space: str
    dataset: str
    convention: str | None
    seed: int
    seeds: int
    trials: int
    study: str | None
    storage: str | None
    tracking: str | None
    publish: bool
    plan: bool
    budget: str
    training: Training
    sampler: Choice
    pruner: Stopping
    cluster: Cluster
    objectives: tuple[str, ...] = ("auc:max",)
    prior: str | None = None
    limits: Limits = Limits()
    networks: str | None = None

    def __post_init__(self) -> None:
        if self.networks is not None and not all(self.networks.split(",")):
            raise ConfigError(
                f"networks={self.networks}: give names or shell patterns, as melcnn*,samplecnn_m3*"
            )
        for name in ("seeds", "trials"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: give 1 or more")
        if self.study is not None and not is_name(self.study):
            raise ConfigError(f"study={self.study}: {A_NAME}")
        if not 0 <= self.seed <= MOST_SEED:
            raise ConfigError(f"seed={self.seed}: give 0 to {MOST_SEED}")
        if self.seeds > MOST_SEEDS:
            raise ConfigError(f"seeds={self.seeds}: give 1 to {MOST_SEEDS}")
        if self.storage is not None:
            check_ledger(self.storage)
        if self.tracking is not None:
            check_tracking(self.tracking)
        if self.cluster.address == LOCAL and self.cluster.gpus is not None and not self.plan:
            raise ConfigError(
                f"cluster.gpus={self.cluster.gpus}: a search takes the GPUs that it finds here; add plan=true for the "
                f"plan of another machine, or leave the word out"
            )
        self._check_objectives()

    def _check_objectives(self) -> None:
        given = self.objectives
        words = (given,) if isinstance(given, str) else given
        if not isinstance(words, list | tuple) or not words:
            raise ConfigError(f"objectives={given}: give a list, as [auc:max,macs:min]")
        looked_for = [Objective.of(word) for word in words]
        if twice := {
            each.name for each in looked_for if [one.name for one in looked_for].count(each.name) > 1
        }:
            raise ConfigError(f"objectives={list(words)}: {min(twice)} stands there twice")
        object.__setattr__(self, "objectives", tuple(map(str, looked_for)))
        if self.pruner.stops and not self.only_auc:
            raise ConfigError(
                f"pruner {self.pruner.name} stops trials by their AUC alone, which is not all that "
                f"objectives=[{','.join(self.objectives)}] asks for: take pruner=none, or objectives=[auc:max]"
            )

    @property
    def looked_for(self) -> tuple[Objective, ...]:
        """The objectives."""
        return tuple(Objective.of(word) for word in self.objectives)

    @property
    def only_auc(self) -> bool:
        """Whether the search looks for the best AUC and nothing else, as it does where the words don't say."""
        return self.objectives == ("auc:max",)


@dataclass(frozen=True)
class TrialSettings:
    """All that can change the result of a trial, and nothing that can't."""

    network: str
    options: Mapping[str, Any]
    training: Training
    seed: int
    dataset: str
    fingerprint: str
    convention: str
    tag_hash: str

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, which copies every value by itself: pages ask this of thousands of trials.
        record = {**vars(self), "options": dict(self.options), "training": vars(self.training)}
        return json.loads(json.dumps(record))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "TrialSettings":
        return cls(**{**record, "training": Training(**record["training"])})

    def signature(self) -> str:
        """16 hexadecimal digits that are the same exactly when the settings are."""
        return digest(self.to_json())

    def point(self) -> str:
        """The same for all seeds of one network with its training."""
        return digest({**self.to_json(), "seed": None})


def digest(record: Any) -> str:
    """16 hexadecimal digits of a JSON value, whatever the order of its keys."""
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
