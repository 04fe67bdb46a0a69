"""One command's job: its settings, space and data together, and the trainings that follow from them."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import zoo
from search import files
from search.data import Data
from search.settings import Settings, TrialSettings, digest, without_password
from search.spaces import Point, Space

# How many epochs the paper's schedule takes is known when it ends; planned with this many.
PLANNED_EPOCHS = 40
# Of a worker before it trains; of each weight with its gradient, its two moments and the best so far; and beside the
# activations that wait for the backward pass there are their gradients and what the allocator holds on to.
PROCESS_BYTES, WEIGHT_BYTES, GRADIENTS_TOO = 600 << 20, 20, 2


@dataclass(frozen=True)
class Work:
    """What one training costs.

    multiply_adds:        of one segment's forward pass.
    training_bytes:       of activations that one segment of a batch keeps for the backward pass.
    training, evaluation: forward multiply-adds of all training segments, and of all looks at valid and test.
    """

    trial: TrialSettings
    parameters: int
    multiply_adds: int
    training_bytes: int
    segments_per_epoch: int
    training: float
    evaluation: float
    done: bool

    @property
    def total(self) -> float:
        return self.training + self.evaluation

    @property
    def memory_bytes(self) -> int:
        """What a process that trains this on the CPU needs, roughly and rather too much than too little."""
        activations = GRADIENTS_TOO * self.training_bytes * self.trial.training.batch_size
        return PROCESS_BYTES + WEIGHT_BYTES * self.parameters + activations


@dataclass(frozen=True)
class Job:
    """What one command has to do. words: as they were typed."""

    settings: Settings
    space: Space
    data: Data
    words: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings, space: Space, data: Data, words: Sequence[str]) -> "Job":
        """The job, with a grid in order of cost: what can go wrong shows early."""
        job = cls(settings, space, data, tuple(words))
        if space.grid is None:
            return job
        costs = [job.work(job.resolve(point, settings.seed)).total for point in space.points()]
        order = sorted(range(len(costs)), key=costs.__getitem__)
        return replace(job, space=replace(space, grid=tuple(space.grid[at] for at in order)))

    @property
    def command(self) -> str:
        """What to type to go on; passwords are left out, as this is shown and recorded."""
        return shlex.join(["python", "-m", "search.run", *map(without_password, self.words)])

    @property
    def identity(self) -> str:
        """The same for the same search, whatever its size: more trials or seeds extend it."""
        settings, data = self.settings, self.data
        training = asdict(settings.training)
        parts = [data.fingerprint, data.convention, training, settings.seed, self.space.identity]
        return digest(parts if settings.only_auc else [*parts, settings.objectives])

    @property
    def study(self) -> str:
        """The name of the ledger."""
        return self.settings.study or f"{self.model}-{self.identity[:6]}"

    @property
    def model(self) -> str:
        """The name under which the winner is registered."""
        return f"{self.data.name}-{self.space.name}"

    def resolve(self, point: Point, seed: int) -> TrialSettings:
        """All settings of one trial. raises: ConfigError or ZooError if the point is no network."""
        return TrialSettings(
            network=point.network,
            options=zoo.entry(point.network).with_options(**dict(point.options)).options,
            training=self.settings.training.changed(**dict(point.training)),
            seed=seed,
            dataset=self.data.name,
            fingerprint=self.data.fingerprint or "",
            convention=self.data.convention,
            tag_hash=self.data.tag_hash,
        )

    def work(self, trial: TrialSettings) -> Work:
        """What a trial costs."""
        entry = zoo.entry(trial.network).with_options(**dict(trial.options))
        cost = entry.cost(self.data.tags)
        in_split = {
            split: self.data.segments(split, entry.samples_at(self.data.sample_rate_hz))
            for split in self.data.clips
        }
        segments = trial.training.segments_per_epoch(in_split["train"], cost.multiply_adds)
        epochs = min(trial.training.longest_epochs, PLANNED_EPOCHS)
        looked_at = epochs * in_split["valid"] + in_split["test"]
        return Work(
            trial=trial,
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            training_bytes=cost.training_bytes,
            segments_per_epoch=segments,
            training=float(cost.multiply_adds) * segments * epochs,
            evaluation=float(cost.multiply_adds) * looked_at,
            done=files.read_result(trial.signature()) is not None,
        )

    def grid(self) -> list[Work]:
        """The work of every training of a grid, in the order in which they will start; empty for other spaces."""
        seeds = range(self.settings.seed, self.settings.seed + self.settings.seeds)
        return [self.work(self.resolve(point, seed)) for seed in seeds for point in self.space.points()]
