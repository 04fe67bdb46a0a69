"""What a search takes while it runs, and when that is all it may take.

GPU-hours are counted over all commands of a study, from the seconds of its trials' epochs times their GPUs; hours by
the clock are this command's own.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from search.outcome import Outcome
from search.planning.limits import HOUR, rounded
from search.settings import Limits


class Reached(Exception):
    """The search has taken all that it may, and can be gone on with."""


class Meter:
    """Counts what a search takes, and says when that is all it may take. A watcher of the search, see desk.py.

    spent_seconds: of devices, by earlier commands of the search. clock: seconds, from any point in time.
    began: when the command did, by that clock; now where it is not said.
    """

    def __init__(
        self,
        limits: Limits,
        spent_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        self.limits, self.device_seconds, self.clock = limits, spent_seconds, clock
        self.began = clock() if began is None else began
        self._tell: Callable[[Reached], None] = lambda reached: None

    @contextmanager
    def watching(self, tell: Callable[[Reached], None]) -> Iterator[None]:
        """While trials run. tell: is told when a limit is reached, from any thread."""
        self._tell = tell
        alarm = None
        if self.limits.wall_hours is not None:
            left = max(self.limits.wall_hours * HOUR - self.wall_seconds, 0.0)
            alarm = threading.Timer(min(left, threading.TIMEOUT_MAX), self._check)
            alarm.daemon = True
            alarm.start()
        try:
            yield
        finally:
            if alarm is not None:
                alarm.cancel()

    def started(self, assignment: object) -> None:
        """Nothing is taken yet."""

    def epoch(self, assignment: object, row: dict[str, Any]) -> None:
        """An epoch has ended; its row says how long it took, and on how much of a GPU."""
        self.took(row["seconds"], row.get("gpus", 0.0))
        self._check()

    def ended(self, assignment: object, outcome: Outcome, why: str) -> None:
        """What it took is counted already."""

    def _check(self) -> None:
        if why := self.reached():
            self._tell(Reached(why))

    def took(self, seconds: float, devices: float) -> None:
        """An epoch took so long on so many devices; on a processor a trial counts as one."""
        self.device_seconds += seconds * (devices or 1.0)

    @property
    def wall_seconds(self) -> float:
        return self.clock() - self.began

    def reached(self) -> str:
        """Which limit is reached, in words; empty while none is."""
        limits = self.limits
        if limits.gpu_hours is not None and self.device_seconds >= limits.gpu_hours * HOUR:
            spent = rounded(self.device_seconds / HOUR)
            return f"budget.gpu_hours={limits.gpu_hours:g} is reached, {spent} are spent"
        if limits.wall_hours is not None and self.wall_seconds >= limits.wall_hours * HOUR:
            return f"budget.wall_hours={limits.wall_hours:g} is reached"
        return ""

    def next_words(self, words: tuple[str, ...], left_seconds: float) -> tuple[str, ...]:
        """The words that let the search go on: the clock starts anew, GPU-hours have to be raised.

        left_seconds: of devices, that the rest will roughly take.
        """
        limit = self.limits.gpu_hours
        if limit is None or self.device_seconds < limit * HOUR:
            return words
        raised = math.ceil(10 * (self.device_seconds + 1.5 * left_seconds) / HOUR) / 10
        return (
            *(word for word in words if not word.startswith("budget.gpu_hours=")),
            f"budget.gpu_hours={raised:g}",
        )
