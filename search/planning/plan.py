"""What a search would train, what is done of it, and what the rest costs; answered without torch, Ray or Optuna."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table

import zoo
from search import files
from search.errors import ConfigError
from search.planning import estimates
from search.planning.estimates import Outlook, outlook
from search.planning.hardware import Machines
from search.planning.job import Job, Rejected, Work
from search.settings import Settings, Training, TrialSettings

# What a training costs: the head of its column, the number, and how it is told.
COSTS: tuple[tuple[str, Callable[[Work, Machines], float], Callable[[float], str]], ...] = (
    ("parameters", lambda work, machines: work.parameters, lambda value: f"{value:,.0f}"),
    ("multiply-adds (M)", lambda work, machines: work.multiply_adds / 1e6, lambda value: f"{value:,.1f}"),
    ("memory (GB)", lambda work, machines: work.memory_bytes / 1e9, lambda value: f"{value:.1f}"),
    ("segments an epoch", lambda work, machines: work.segments_per_epoch, lambda value: f"{value:,.0f}"),
    ("time", estimates.seconds, lambda value: duration(value)),
)
WORDS = ("network", "state")  # heads of columns that are no numbers


@dataclass(frozen=True)
class Plan:
    """A job on machines: its trainings, or of a sampled space those at drawn points, and what is left of it."""

    job: Job
    machines: Machines
    works: tuple[Work, ...]
    rejected: tuple[Rejected, ...]
    outlook: Outlook

    @classmethod
    def of(cls, job: Job, machines: Machines) -> "Plan":
        if job.space.grid is not None:
            works = job.grid()
            left = [each for each in works if not each.done]
            found = outlook(job, left, len(left), machines)
            return cls(job, machines, tuple(works), job.rejected, found)
        drawn = list(job.drawn(machines.trial_bytes))
        works = [each for each in drawn if isinstance(each, Work)]
        rejected = tuple(each for each in drawn if isinstance(each, Rejected))
        trainings = job.settings.trials * job.settings.seeds
        return cls(job, machines, tuple(works), rejected, outlook(job, works, trainings, machines))

    def check(self) -> None:
        """raises: ConfigError if none of the points drawn of a sampled space can be trained."""
        if not self.works and self.rejected and self.job.space.grid is None:
            ((why, _),) = Counter(each.why for each in self.rejected).most_common(1)
            count, space = len(self.rejected), self.job.space.name
            raise ConfigError(f"space {space}: none of {count} points drawn can be trained: {why}")

    def with_left(self, trainings: int) -> "Plan":
        """The same where so many trainings of a sampled space are left, as its ledger knows."""
        return replace(self, outlook=outlook(self.job, self.works, trainings, self.machines))


def meaning(training: Training, name: str) -> str:
    """What the numbers of a budget can be taken for."""
    if training == Training():
        return f"{name}: the paper's schedule; the numbers compare with its tables where data and split are its own"
    if training.multiply_adds_per_epoch is not None:
        return (
            f"{name}: {training.longest_epochs} epochs of at most {training.multiply_adds_per_epoch / 1e9:g} G "
            f"multiply-adds each; shows that the way works, not which network is better"
        )
    return f"{name}: at most {training.longest_epochs} epochs; not the paper's schedule, so not its numbers"


def show(plan: Plan) -> RenderableType:
    """The plan as text and a table: a grid's trainings, or the range of a sampled space."""
    job, data = plan.job, plan.job.data
    clips = ", ".join(f"{count:,} {split}" for split, count in data.clips.items())
    lines = [
        f"search   {job.study if data.fingerprint else job.model}: {job.space.question}",
        f"data     {data.name}{f' ({data.why})' if data.why else ''}, convention {data.convention}: {clips}, "
        f"{data.tags} tags" + ("; will be rendered first" if data.automatic else ""),
        f"budget   {meaning(job.settings.training, job.settings.budget)}{_hint(job.settings, plan.machines)}",
        f"cluster  {plan.machines}" + (f" ({plan.machines.assumed})" if plan.machines.assumed else ""),
        f"trials   {_trials(plan)}",
        f"time     {_time(plan)}",
        f"disk     {_disk(plan.outlook)}",
    ]
    return Group("\n".join(lines), _table(plan) if job.space.grid is not None else _ranges(plan))


def _hint(settings: Settings, machines: Machines) -> str:
    """Why the budget is no larger, and which is."""
    if settings.training.multiply_adds_per_epoch is None or machines.gpus:
        return ""
    return " (there is no GPU here; budget=paper is the paper's schedule)"


def _trials(plan: Plan) -> str:
    job = plan.job
    if job.space.grid is not None:
        said = f"{len(plan.works)}, of which {len(plan.works) - plan.outlook.trainings} are done"
        return said + (f"; {len(plan.rejected)} more points can't be trained" if plan.rejected else "")
    said = (
        f"{job.settings.trials} different settings, {job.settings.seeds} seed(s) each, "
        f"chosen by {job.settings.sampler.name}"
    )
    reasons = Counter(each.why for each in plan.rejected)
    told = "".join(
        f"\n         {count} of the points drawn can't be: {why}" for why, count in reasons.items()
    )
    return f"{said}; costs are of {len(plan.works)} points drawn evenly{told}"


def _time(plan: Plan) -> str:
    found, machines = plan.outlook, plan.machines
    if not found.trainings:
        return "nothing is left to train"
    how = f"by {found.trainings_timed} or more trainings on this kind of device"
    if not found.trainings_timed:
        how = "a first guess, known better as it runs"
    training = plan.job.settings.training
    epochs = f", planned with {training.planned_epochs} epochs each"
    planned = epochs if training.longest_epochs > training.planned_epochs else ""
    return (
        f"roughly {duration(found.wall_seconds)} by the clock ({found.at_once} at once) and "
        f"{_hours(found.device_seconds)} {machines.unit}: {how}{planned}\n         "
        f"very likely {duration(found.least_wall_seconds)} to {duration(found.most_wall_seconds)}, and "
        f"{_hours(found.low)} to {_hours(found.high)} {machines.unit}"
    )


def _disk(found: Outlook) -> str:
    """What will be written, and whether there is room for it."""
    folder = _existing(files.home())
    free = shutil.disk_usage(folder).free
    said = f"{_gigabytes(found.disk_bytes)} will be written; {_gigabytes(free)} are free in {files.home()}"
    return said + ("; NOT ENOUGH: make room, or set WAVEZOO_HOME" if found.disk_bytes > free else "")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


def _table(plan: Plan) -> Table:
    table = _headed(("network", "seed", *(head for head, _, _ in COSTS), "state"))
    for each in plan.works:
        costs = [told(cost(each, plan.machines)) for _, cost, told in COSTS]
        table.add_row(_label(each.trial), str(each.trial.seed), *costs, _state(plan, each))
    for one in plan.rejected:
        table.add_row(one.label, *[""] * (1 + len(COSTS)), f"can't be trained: {one.why}")
    return table


def _headed(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in columns:
        words = title in WORDS
        table.add_column(
            title, justify="left" if words else "right", no_wrap=title != "state", overflow="fold"
        )
    return table


def _state(plan: Plan, work: Work) -> str:
    """What has become of a training, and what is unusual about it."""
    signature = work.trial.signature()
    if work.done:
        study = files.trained_by(signature)
        return "done" + (f", by {study}" if study and study != plan.job.study else "")
    epochs = len(files.read_epochs(signature)) if plan.job.data.fingerprint else 0
    notes = [f"goes on after epoch {epochs}" if epochs else "to train"]
    entry, data = zoo.entry(work.trial.network), plan.job.data
    if entry.samples_at(data.sample_rate_hz) > data.segmented_samples:
        notes.append(f"clips are filled up to {entry.input_ms / 1000:.1f} s")
    most = plan.machines.trial_bytes
    if most is not None and work.memory_bytes > most:
        notes.append(f"batches in parts, as a trial can have {most / 1e9:.1f} GB")
    return "; ".join(notes)


def _ranges(plan: Plan) -> Table:
    """The least, the median and the most of each cost of a sampled space."""
    table = _headed(("of the points drawn", *(head for head, _, _ in COSTS)))
    if not plan.works:
        return table
    parts: list[tuple[str, Callable[[list[float]], float]]] = [
        ("least", min),
        ("median", median),
        ("most", max),
    ]
    for name, part in parts:
        costs = [told(part([cost(work, plan.machines) for work in plan.works])) for _, cost, told in COSTS]
        table.add_row(name, *costs)
    return table


def _label(trial: TrialSettings) -> str:
    """The network, and what of its options differs from the one of that name."""
    changed = zoo.entry(trial.network).with_options(**dict(trial.options)).overrides
    return " ".join([trial.network, *(f"{name}={value}" for name, value in changed.items())])


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _gigabytes(amount: int) -> str:
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
