"""What was measured, sorted by what its numbers mean: the trainings that ended, of each protocol and of each budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import zoo
from dashboards.reading import Reading, Trial
from search.outcome import Outcome
from search.results.leaderboard import Ended
from search.scoring.protocol import protocol_id
from search.settings import TrialSettings, digest
from search.study.records import Search


@dataclass(frozen=True)
class Measured:
    """A training that has ended, and the search that it was found in."""

    search: Search
    trial: Trial
    result: Mapping[str, Any]

    @property
    def ended(self) -> Ended:
        return self.result, self.trial.record.settings


@dataclass(frozen=True)
class Group:
    """Trainings whose numbers may stand in one ranking. key: stable, for an address. budget: "" for all of them."""

    key: str
    protocol: Mapping[str, Any]
    budget: str
    members: Sequence[Measured]

    @property
    def label(self) -> str:
        """In a few words, which several may share."""
        return self._told(self.budget.partition(":")[0])

    @property
    def longer(self) -> str:
        """The same with what the budget is, and not only what it is called."""
        return self._told(self.budget.partition(";")[0])

    def _told(self, budget: str) -> str:
        told = self.protocol
        said = f"{told['dataset']} {str(told['fingerprint'])[:6]}, {told['convention']}, {told['clips']:,} test clips"
        return f"{said}, budget {budget}" if budget else said

    @property
    def tables(self) -> set[str | None]:
        """The paper's tables that the searches are of."""
        return {each.search.about.paper_table for each in self.members}


def measured(reading: Reading) -> tuple[list[Measured], list[str]]:
    """Everything that has ended, newest search first, and a line for each training that can't be read."""
    found: list[Measured] = []
    trouble: list[str] = []
    for search in reading.searches():
        trouble += [f"{search.name}: {line}" for line in search.trouble]
        for record in search.records:
            if record.outcome is Outcome.DONE:
                trial = reading.trial(record)
                why = trial.trouble or unknown(record.settings)
                if why:
                    trouble.append(f"{search.name}, trial {record.number}: {why}")
                elif trial.result is not None:
                    found.append(Measured(search, trial, trial.result))
    return found, [*([reading.away] if reading.away else []), *trouble]


def entry_of(settings: TrialSettings) -> zoo.Entry:
    """The network of a training, with its options. raises: zoo.ZooError if this zoo has none of them."""
    return _entry(settings.network, tuple(settings.options.items()))


@lru_cache(maxsize=4096)
def _entry(network: str, options: tuple[tuple[str, Any], ...]) -> zoo.Entry:
    return zoo.entry(network).with_options(**dict(options))


def unknown(settings: TrialSettings) -> str:
    """Why this zoo does not know the network of a training, as of a search by another release."""
    try:
        entry_of(settings)
    except (zoo.ZooError, TypeError) as error:
        return str(error)
    return ""


def by_protocol(found: Iterable[Measured]) -> list[Group]:
    """Largest group first; a training that several searches found counts once."""
    return _groups(found, with_budget=False)


def by_budget(found: Iterable[Measured]) -> list[Group]:
    """The same, for each budget by itself."""
    return _groups(found, with_budget=True)


def _groups(found: Iterable[Measured], with_budget: bool) -> list[Group]:
    groups: dict[tuple[str, str], dict[str, Measured]] = {}
    for each in found:
        budget = each.search.about.budget if with_budget else ""
        members = groups.setdefault((protocol_id(each.result["protocol"]), budget), {})
        members.setdefault(each.trial.record.signature, each)
    made = [
        Group(
            protocol if not budget else digest([protocol, budget]),
            next(iter(members.values())).result["protocol"],
            budget,
            list(members.values()),
        )
        for (protocol, budget), members in groups.items()
    ]
    return sorted(made, key=lambda group: -len(group.members))


def labels(groups: Sequence[Group]) -> dict[str, str]:
    """For a menu, by their keys: as few words of each group as tell it from the others."""
    counted = Counter(group.label for group in groups)
    return told_apart(
        {group.key: group.label if counted[group.label] == 1 else group.longer for group in groups}
    )


def told_apart(named: Mapping[str, str]) -> dict[str, str]:
    """The labels of a menu by their keys, with the first digits of the key where several are the same."""
    counted = Counter(named.values())
    return {key: label if counted[label] == 1 else f"{label} ({key[:6]})" for key, label in named.items()}


def chosen(groups: Sequence[Group], key: str) -> Group | None:
    """The group that an address asks for, else the largest; None where there is none."""
    return next((group for group in groups if group.key == key), groups[0] if groups else None)
