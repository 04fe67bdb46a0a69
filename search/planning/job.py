"""One command's job: its settings, space and data together, and the trainings that follow from them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import zoo
from datasets import words as typed
from search import files
from search.answers import Drawn, Fixed
from search.errors import ConfigError, without_password
from search.planning.data import Data
from search.settings import Settings, TrialSettings, digest
from search.spaces import Point, Space

# Of a worker before it trains; of each weight with its gradient, its two moments and the best so far; and beside the
# activations that wait for the backward pass there are their gradients and what the allocator holds on to.
PROCESS_BYTES, WEIGHT_BYTES, GRADIENTS_TOO = 600 << 20, 20, 2
FEWEST_SEGMENTS = 2  # in a batch: batch norm needs them
SAMPLE_POINTS = 64  # of a sampled space, drawn for a plan


@dataclass(frozen=True)
class Work:
    """What one training costs.

    multiply_adds:        of one segment's forward pass.
    training_bytes:       of activations that one segment of a batch keeps for the backward pass.
    segment_samples:      of the data set's, in a segment.
    training, evaluation: forward multiply-adds of all training segments, and of all looks at valid and test.
    """

    trial: TrialSettings
    parameters: int
    multiply_adds: int
    training_bytes: int
    segment_samples: int
    segments_per_epoch: int
    training: float
    evaluation: float

    @cached_property
    def done(self) -> bool:
        """Whether it has been trained; looks for its result, perhaps in a bucket."""
        return files.read_result(self.trial.signature()) is not None

    @property
    def total(self) -> float:
        return self.training + self.evaluation

    @property
    def family(self) -> str:
        return zoo.entry(self.trial.network).family

    @property
    def epochs(self) -> int:
        """How many it is planned with."""
        return self.trial.training.planned_epochs

    @property
    def updates_per_epoch(self) -> int:
        """Of the weights: one for each whole batch."""
        return self.segments_per_epoch // self.trial.training.batch_size

    @property
    def updates(self) -> int:
        """Of the weights, in all epochs."""
        return self.epochs * self.updates_per_epoch

    @property
    def memory_bytes(self) -> int:
        """What a process that trains this needs, roughly and rather too much than too little."""
        return self._bytes_with(self.trial.training.batch_size)

    @property
    def least_bytes(self) -> int:
        """The same where a batch is taken in parts that are as small as they can be."""
        return self._bytes_with(FEWEST_SEGMENTS)

    def _bytes_with(self, segments: int) -> int:
        activations = GRADIENTS_TOO * self.training_bytes * segments
        return PROCESS_BYTES + WEIGHT_BYTES * self.parameters + activations


@dataclass(frozen=True)
class Rejected:
    """A point that can't be trained: the parameters that tell it from the others, and why not."""

    params: Mapping[str, Any]
    why: str

    @property
    def label(self) -> str:
        return " ".join(
            str(value) if key == "network" else f"{key}={value}" for key, value in self.params.items()
        )


@dataclass(frozen=True)
class Job:
    """What one command has to do.

    words: as they were typed. rejected: the points of a grid that are not trained; `space.grid` has the others.
    """

    settings: Settings
    space: Space
    data: Data
    words: tuple[str, ...]
    rejected: tuple[Rejected, ...] = ()

    @classmethod
    def of(
        cls,
        settings: Settings,
        space: Space,
        data: Data,
        words: Sequence[str],
        trial_bytes: int | None = None,
    ) -> "Job":
        """The job, with a grid in order of cost: what can go wrong shows early.

        trial_bytes: the most memory that a trial can have; None where nobody knows.
        raises: ConfigError if no point of a grid can be trained, or the words don't fit the space.
        """
        if settings.networks is not None:
            space = space.only(settings.networks.split(","))
        job = cls(settings, space, data, tuple(words))
        if space.grid is None:
            return job
        tried = [(params, job.judged(Fixed(params), trial_bytes)) for params in space.grid]
        taken = [(params, work) for params, work in tried if isinstance(work, Work)]
        rejected = tuple(work for _, work in tried if isinstance(work, Rejected))
        if not taken:
            why = f"; {rejected[0].label}: {rejected[0].why}" if rejected else ""
            raise ConfigError(f"space {space.name}: none of its {len(tried)} points can be trained{why}")
        grid = tuple(params for params, _ in sorted(taken, key=lambda pair: pair[1].total))
        return replace(job, space=replace(space, grid=grid), rejected=rejected)

    @property
    def command(self) -> str:
        """What to type to go on."""
        return command(self.words)

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

    def judged(self, asked: Fixed, trial_bytes: int | None = None) -> Work | Rejected:
        """What a point's training costs with the first seed, or why there can be none.

        asked: who answers the space's questions. trial_bytes: the most memory that a trial can have.
        """
        try:
            work = self.work(self.resolve(self.space.at(asked), self.settings.seed), exact=False)
        except (ConfigError, zoo.ZooError) as error:
            return Rejected(asked.params, str(error))
        if trial_bytes is not None and work.least_bytes > trial_bytes:
            why = (
                f"needs {work.least_bytes / 1e9:.1f} GB even with {FEWEST_SEGMENTS} segments at once; "
                f"a trial can have {trial_bytes / 1e9:.1f} GB"
            )
            return Rejected(asked.params, why)
        return work

    def drawn(self, trial_bytes: int | None = None) -> Iterator[Work | Rejected]:
        """Points of a sampled space, drawn evenly and always the same, for whoever wants to know what it costs."""
        draws = random.Random(0)
        fixed = self.space.architectures or ({},)
        for number in range(SAMPLE_POINTS):
            yield self.judged(Drawn(draws, fixed[number % len(fixed)]), trial_bytes)

    def work(self, trial: TrialSettings, exact: bool = True) -> Work:
        """What a trial costs. exact: options without a closed form are counted, with torch, or else ignored."""
        entry = zoo.entry(trial.network).with_options(**dict(trial.options))
        counted = entry if exact or entry.costs_are_known else zoo.entry(trial.network)
        cost = counted.cost(self.data.tags)
        samples = entry.samples_at(self.data.sample_rate_hz)
        in_split = {split: self.data.segments(split, samples) for split in self.data.clips}
        segments = trial.training.segments_per_epoch(in_split["train"], cost.multiply_adds)
        epochs = trial.training.planned_epochs
        looked_at = epochs * in_split["valid"] + in_split["test"]
        return Work(
            trial=trial,
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            training_bytes=cost.training_bytes,
            segment_samples=samples,
            segments_per_epoch=segments,
            training=float(cost.multiply_adds) * segments * epochs,
            evaluation=float(cost.multiply_adds) * looked_at,
        )

    def grid(self) -> list[Work]:
        """The work of every training of a grid, in the order in which they will start; empty for other spaces."""
        seeds = range(self.settings.seed, self.settings.seed + self.settings.seeds)
        points = self.space.points()
        return [self.work(self.resolve(point, seed), exact=False) for seed in seeds for point in points]


def command(words: Sequence[str]) -> str:
    """The command of these words, without their passwords, as it is shown and recorded."""
    return typed.command("search.run", map(without_password, words))
