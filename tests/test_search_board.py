"""What a person sees while a search runs."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console

from search.outcome import Outcome
from search.running import board as boards
from search.running.board import Board
from search.study.assignment import Assignment


@dataclass
class Settings:
    network: str
    seed: int = 0


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Seen:
    """A board on no terminal, and what it has printed. pass_by: lets so many seconds go by."""

    board: Board
    clock: Clock
    text: io.StringIO = field(default_factory=io.StringIO)

    def train(self, number: int, seconds: float, auc: float) -> None:
        assignment: Any = Assignment(number, Settings(f"net{number}"))  # type: ignore[arg-type]
        self.board.started(assignment)
        self.clock.now += seconds
        scores = {"valid": {"roc_auc": auc}, "test": {"roc_auc": auc}}
        self.board.epoch(assignment, {"epoch": 1, "seconds": seconds, "result": scores})
        self.board.ended(assignment, Outcome.DONE, "")

    def line(self) -> str:
        return self.board._summary()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    def made(**more: Any) -> Seen:
        clock = Clock()
        monkeypatch.setattr(boards, "time", clock)
        text = io.StringIO()
        about = {"expected": 4, "done": 0, "guess_left": None, **more}
        board = Board(Console(file=text, width=200), seconds=lambda one: 1.0, trouble=lambda: None, **about)
        return Seen(board, clock, text)

    return made


def test_the_time_left_is_told_at_each_end_and_runs_down_in_between(seen: Callable[..., Seen]) -> None:
    it = seen()
    assert it.line() == "0 of 4 trials"
    it.train(1, 60, 0.6)
    assert ", about 3 min left" in it.line()
    it.clock.now += 65
    assert ", about 2 min left" in it.line()
    it.clock.now += 300
    assert "left" not in it.line()  # it took longer than thought, and nobody knows how much


def test_the_best_of_an_earlier_command_stays_the_best_until_it_is_beaten(seen: Callable[..., Seen]) -> None:
    it = seen(done=1, best=("net0", 0.75))
    assert it.line() == "1 of 4 trials; best so far net0 (valid AUC 0.7500)"
    it.train(1, 60, 0.7)
    assert it.line().endswith("best so far net0 (valid AUC 0.7500)")
    it.train(2, 60, 0.8)
    assert it.line().endswith("best so far net2 (valid AUC 0.8000)")
    assert "   2/4  net1  test AUC 0.7000  60 s" in it.text.getvalue()
