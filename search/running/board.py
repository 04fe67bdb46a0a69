"""What a person sees while a search runs: a live table on a terminal, a line per finished trial elsewhere."""

import threading
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from search.outcome import Outcome
from search.planning.plan import duration
from search.study.assignment import Assignment

HEARTBEAT_SECONDS = 30.0


class Board:
    """A watcher of the search.

    expected:   how many trainings the search has; done: how many of them had ended before it began.
    guess_left: rough seconds of all those that had not; None where nobody knows which they will be.
    best:       of those that had ended, the network and its validation AUC.
    seconds:    the rough seconds of one of them. The board corrects these guesses by what it sees.
    trouble:    a line about tracking, while there is something to say.
    """

    def __init__(
        self,
        console: Console,
        *,
        expected: int,
        done: int,
        guess_left: float | None,
        seconds: Callable[[Assignment], float],
        trouble: Callable[[], str | None],
        best: tuple[str, float] | None = None,
    ) -> None:
        self.console, self.expected, self.done, self.guess_left = console, expected, done, guess_left
        self.seconds, self.trouble = seconds, trouble
        self.failed, self.best = 0, best
        self._began: float | None = None
        self._guessed, self._ended_here, self._last_end = 0.0, 0, 0.0
        self._running: dict[int, tuple[Assignment, dict[str, Any], float]] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)
        self._stop = threading.Event()
        self._pulse = threading.Thread(target=self._heartbeat, daemon=True)

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self._live.start()
        else:
            self._pulse.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self.console.is_terminal:
            self._live.stop()

    def started(self, assignment: Assignment) -> None:
        with self._lock:
            self._running[assignment.number] = (assignment, {}, time.monotonic())

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        with self._lock:
            if self._began is None:  # the workers' start is over: from here on time is spent on training
                self._began = time.monotonic() - row.get("seconds", 0.0)
            _, _, since = self._running[assignment.number]
            self._running[assignment.number] = (assignment, row, since)

    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        if outcome is Outcome.PAUSED:
            with self._lock:
                self._running.pop(assignment.number)
            return
        guess = self.seconds(assignment)
        with self._lock:
            _, row, since = self._running.pop(assignment.number)
            self.done += 1
            self._guessed += guess
            self._ended_here += 1
            self._last_end = time.monotonic()
            if outcome is Outcome.FAILED:
                self.failed += 1
            result = row.get("result")
            if result and (self.best is None or result["valid"]["roc_auc"] > self.best[1]):
                self.best = assignment.settings.network, result["valid"]["roc_auc"]
        self.console.print(
            self._line(assignment, outcome, why, row, time.monotonic() - since), highlight=False
        )

    def _line(
        self, assignment: Assignment, outcome: Outcome, why: str, row: dict[str, Any], seconds: float
    ) -> str:
        score = f"test AUC {row['result']['test']['roc_auc']:.4f}" if "result" in row else outcome
        told = f": {why}" if why else ""
        return f"{self.done:>4}/{self.expected}  {assignment.settings.network}  {score}{told}  {duration(seconds)}"

    def _left(self) -> str:
        """Time left, unknown before the first trial has ended: the guesses for the rest, as wrong as those so far.

        It is told anew at each end and runs down in between; when it has run out, nothing is said.
        """
        if self._began is None or not self._ended_here or self.done >= self.expected:
            return ""
        rest = (self.expected - self.done) / self._ended_here
        if self.guess_left is not None:
            rest = max(self.guess_left - self._guessed, 0.0) / self._guessed
        left = (self._last_end - self._began) * rest - (time.monotonic() - self._last_end)
        return f", about {duration(left)} left" if left > 0 else ""

    def _summary(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        best = f"; best so far {self.best[0]} (valid AUC {self.best[1]:.4f})" if self.best else ""
        return f"{self.done} of {self.expected} trials{failed}{self._left()}{best}"

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for title in ("running", "seed", "epoch", "stage", "train loss", "valid loss", "valid AUC", "for"):
            table.add_column(title, justify="left" if title == "running" else "right", no_wrap=True)
        with self._lock:
            for assignment, row, since in self._running.values():
                numbers = (
                    [f"{row[key]:.4f}" for key in ("train_loss", "valid_loss", "valid_roc_auc")]
                    if row
                    else ["", "", ""]
                )
                stage = str(row["stage"] + 1) if row else "1"
                table.add_row(
                    assignment.settings.network,
                    str(assignment.settings.seed),
                    str(row.get("epoch", 0)),
                    stage,
                    *numbers,
                    duration(time.monotonic() - since),
                )
            lines = [self._summary()]
        if trouble := self.trouble():
            lines.append(f"tracking waits: {trouble}")
        return Group(table, *lines)

    def _heartbeat(self) -> None:
        """Signs of life where there is no terminal to draw on."""
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                line = self._summary()
            self.console.print(line)
