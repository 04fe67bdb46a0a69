"""What a trained network is worth: the values of its objectives, and the front of those that no other one beats."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from rich.table import Table

import zoo
from search import files
from search.errors import ConfigError
from search.planning.job import Job, Work
from search.settings import Objective, TrialSettings

# How each of settings.OBJECTIVES is read off a training: from its result, or from what its network costs.
READ: Mapping[str, Callable[[Mapping[str, Any], Work], float]] = {
    "auc": lambda result, work: result["valid"]["roc_auc"],
    "pr_auc": lambda result, work: result["valid"]["pr_auc"],
    "loss": lambda result, work: result["valid"]["loss"],
    "macs": lambda result, work: float(work.multiply_adds),
    "parameters": lambda result, work: float(work.parameters),
    "memory": lambda result, work: float(work.memory_bytes),
    "seconds": lambda result, work: result["seconds"],
}


@dataclass(frozen=True)
class OnFront:
    """A network that no other one beats in all objectives. values: means over its seeds, in the objectives' order."""

    settings: TrialSettings
    values: tuple[float, ...]
    seeds: int


def values(job: Job, settings: TrialSettings, result: Mapping[str, Any]) -> list[float]:
    """The objectives of one training, in their order.

    raises: ConfigError if the result does not say what an objective asks for.
    """
    work = job.work(settings)
    try:
        return [READ[each.name](result, work) for each in job.settings.looked_for]
    except KeyError as error:
        raise ConfigError(f"objectives: the result of {settings.network} has no {error}") from error


def front(job: Job, trained: Iterable[TrialSettings]) -> list[OnFront]:
    """The Pareto front of the trainings that have ended, best of the first objective first."""
    groups: dict[str, list[tuple[TrialSettings, list[float]]]] = {}
    for settings in trained:
        if result := files.read_result(settings.signature()):
            groups.setdefault(settings.point(), []).append((settings, values(job, settings, result)))
    known = [_mean_of(group) for group in groups.values()]
    signs = [_sign(each) for each in job.settings.looked_for]
    best = [
        each for each, kept in zip(known, unbeaten([one.values for one in known], signs), strict=True) if kept
    ]
    return sorted(best, key=lambda one: -signs[0] * one.values[0])


def unbeaten(found: Sequence[Sequence[float]], signs: Sequence[int]) -> list[bool]:
    """Which of these are on the Pareto front. signs: of each objective, 1 where more is better, -1 where less."""
    gains = [tuple(sign * value for sign, value in zip(signs, one, strict=True)) for one in found]
    front: list[int] = []
    # Whatever beats another one comes before it in this order, or something on the front does that beats it, too.
    for at in sorted(range(len(found)), key=lambda at: gains[at], reverse=True):
        if not any(_beats(found[other], found[at], signs) for other in front):
            front.append(at)
    return [at in front for at in range(len(found))]


def _mean_of(group: Sequence[tuple[TrialSettings, list[float]]]) -> OnFront:
    columns = zip(*(found for _, found in group), strict=True)
    return OnFront(group[0][0], tuple(mean(column) for column in columns), len(group))


def _sign(objective: Objective) -> int:
    return 1 if objective.direction == "max" else -1


def _beats(one: Sequence[float], other: Sequence[float], signs: Sequence[int]) -> bool:
    """No worse in any objective, and better in one."""
    gains = [sign * (a - b) for sign, a, b in zip(signs, one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def as_table(job: Job, found: Iterable[OnFront]) -> Table:
    """The front for a terminal."""
    table = Table(box=None, pad_edge=False)
    table.add_column("on the front")
    for each in (*job.settings.objectives, "seeds"):
        table.add_column(str(each), justify="right", no_wrap=True)
    for one in found:
        table.add_row(_label(one.settings), *map(_short, one.values), str(one.seeds))
    return table


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.0f}"


def _label(settings: TrialSettings) -> str:
    """The network, with what of its options is not its own default, and how its training began."""
    changed = zoo.entry(settings.network).with_options(**dict(settings.options)).overrides
    options = "".join(f" {name}={value}" for name, value in changed.items())
    return f"{settings.network}{options} from {settings.training.learning_rates[0]:.3g}"
