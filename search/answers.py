"""Who answers a space's questions where no study does: points that are known, and points drawn for a plan.

Both stand for a trial of Optuna's, whose import takes longer than a plan.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any


class Fixed:
    """Answers from what is given, and refuses what the space does not allow.

    raises: ValueError if a parameter is asked for that is not there, or has a value beyond its range.
    """

    number = 0

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.user_attrs: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._checked(name, self._of(name) in choices, f"one of {list(choices)}")

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._checked(name, low <= self._of(name) <= high, f"{low} to {high}")

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._checked(name, low <= self._of(name) <= high, f"{low} to {high}"))

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def _of(self, name: str) -> Any:
        if name not in self.params:
            raise ValueError(f"sample asks for {name!r}, which is not given")
        return self.params[name]

    def _checked(self, name: str, allowed: bool, range_: str) -> Any:
        if not allowed:
            raise ValueError(f"{name}={self.params[name]!r} is given, and sample allows {range_}")
        return self.params[name]


class Drawn(Fixed):
    """Answers with values drawn evenly from each range, but for what is given. draws: where they come from."""

    def __init__(self, draws: random.Random, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.draws = draws

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name not in self.params:
            self.params[name] = self.draws.choice(list(choices))
        return super().suggest_categorical(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if name not in self.params:
            self.params[name] = self.draws.choice(range(low, high + 1, step))
        return super().suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name not in self.params:
            self.params[name] = self._between(low, high, step, log)
        return super().suggest_float(name, low, high, step=step, log=log)

    def _between(self, low: float, high: float, step: float | None, log: bool) -> float:
        if step is not None:
            return min(low + self.draws.randint(0, math.floor((high - low) / step + 1e-9)) * step, high)
        place = self.draws.random()
        return float(low * (high / low) ** place if log else low + (high - low) * place)
