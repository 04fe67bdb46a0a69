"""What trainings of a search differ in: a column for each such setting, and a name that tells each from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.measured import entry_of
from search.settings import TrialSettings

NETWORK, FAMILY = "network", "family"


@dataclass(frozen=True)
class Column:
    """A setting that is not the same for all. values: of each training; None where its network has none."""

    name: str
    values: Sequence[Any]


def columns(trainings: Sequence[TrialSettings]) -> list[Column]:
    """All but the seed; without what repeats another column, or is the same for all networks that have it."""
    flat = [_flat(each) for each in trainings]
    names = dict.fromkeys(name for each in flat for name in each)
    found = [Column(name, [each.get(name) for each in flat]) for name in names]
    kept: list[Column] = []
    for column in found:
        known = {repr(value) for value in column.values if value is not None}
        if len(known) > 1 and not any(column.values == other.values for other in kept):
            kept.append(column)
    # The name of a network of the m^n rule says m, n and stride, which are columns of their own.
    return [each for each in kept if each.name != NETWORK or not _named(kept)]


def _named(kept: Sequence[Column]) -> bool:
    return any(each.name in ("m", "n", "stride") for each in kept)


def _flat(settings: TrialSettings) -> dict[str, Any]:
    training = vars(settings.training) | {"learning_rate": settings.training.learning_rates[0]}
    del training["learning_rates"]
    family = entry_of(settings).family
    return {FAMILY: family, NETWORK: settings.network, **dict(settings.options), **training}


def names(trainings: Mapping[str, TrialSettings]) -> dict[str, str]:
    """Names by signature: the network, what else differs, and the seed where there are several."""
    several = len({each.seed for each in trainings.values()}) > 1
    varied = columns(list(trainings.values()))
    found = {}
    for at, (signature, settings) in enumerate(trainings.items()):
        entry = entry_of(settings)
        silent = {NETWORK, FAMILY, *entry.options} - entry.overrides.keys()
        told = [
            f"{each.name}={short(each.values[at])}"
            for each in varied
            if each.name not in silent and each.values[at] is not None
        ]
        seed = [f"seed {settings.seed}"] if several else []
        found[signature] = " ".join([settings.network, *told, *seed])
    return found


def short(value: Any) -> str:
    """A setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
