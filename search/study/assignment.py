"""A trial that is handed out, and how it ended: what the decider and whoever runs or records trials tell each other."""

from dataclasses import dataclass
from functools import cached_property

from search.outcome import Outcome
from search.settings import TrialSettings

__all__ = ["Assignment", "Ended"]


@dataclass(frozen=True)
class Assignment:
    """A trial to be run: its number in the study, and what it is."""

    number: int
    settings: TrialSettings

    @cached_property
    def signature(self) -> str:
        """Of the settings; kept, because it is asked for at every report, and a hash takes longer than one may."""
        return self.settings.signature()


@dataclass(frozen=True)
class Ended:
    """How a trial ended; a failure has a kind and says why."""

    assignment: Assignment
    outcome: Outcome
    kind: str = ""
    why: str = ""
