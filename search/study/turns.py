"""Whose turn it is: the architectures of a sampled space, each of which gets as many points as the others."""

from collections.abc import Iterator, Mapping
from typing import Any

from search.errors import ConfigError
from search.spaces import Space
from search.study import sampling


class Turns:
    """The rows of a sampled space: what is fixed of a proposal. A space without architectures has one, of nothing.

    trials: how many points are tried in all. raises: ConfigError if they are fewer than the rows.
    """

    def __init__(self, space: Space, trials: int) -> None:
        self._space, self._trials = space, trials
        self._rows = space.architectures or ({},)
        if len(self._rows) > max(trials, 1):
            raise ConfigError(
                f"trials={trials}: space {space.name} has {len(self._rows)} architectures to be tried alike; give "
                f"trials={len(self._rows)} or a multiple of it"
            )
        self._tried: dict[str, int] = {}  # the row of each point, failed ones included, by its signature
        self._others: dict[int, Iterator[dict[str, Any]]] = {}
        self._spent: set[int] = set()

    def note(self, signature: str, params: Mapping[str, Any]) -> None:
        """A point is tried, or has been."""
        self._tried[signature] = self.row_of(params)

    def has_tried(self, signature: str) -> bool:
        """Whether a point was noted."""
        return signature in self._tried

    @property
    def are_over(self) -> bool:
        """Nothing is left of any row."""
        return len(self._spent) == len(self._rows)

    def want_more(self) -> bool:
        """Whether points are due, and there are any."""
        return len(self._tried) < self._trials and not self.are_over

    def row_of(self, params: Mapping[str, Any]) -> int:
        """Which of the rows a point belongs to."""
        return next(at for at, row in enumerate(self._rows) if row.items() <= params.items())

    def next(self) -> int:
        """The row whose turn it is: the one with the fewest points of those that have any left."""
        return min(set(range(len(self._rows))) - self._spent, key=lambda row: (self._points(row), row))

    def fixed(self, row: int) -> Mapping[str, Any]:
        """The parameters that all points of a row have."""
        return self._rows[row]

    def is_due(self, row: int) -> bool:
        """Whether a row has points left, and has not had its share of them."""
        return row not in self._spent and self._points(row) * len(self._rows) < self._trials

    def spend(self) -> None:
        """Nothing is left of the row whose turn it is."""
        self._spent.add(self.next())

    def others(self, seed: int) -> Iterator[dict[str, Any]]:
        """Points of the row whose turn it is; what has been shown stays known, so each is gone through once."""
        row = self.next()
        if row not in self._others:
            self._others[row] = sampling.others(self._space, self._rows[row], seed)
        return self._others[row]

    def _points(self, row: int) -> int:
        return list(self._tried.values()).count(row)
