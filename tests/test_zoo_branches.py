"""Work in streams beside each other, without a GPU: by streams that only note who waits for whom."""

from contextlib import contextmanager

import pytest
import torch

from zoo.fast import branches
from zoo.fast.branches import side_by_side

CUDA = torch.device("cuda")


class Noting:
    """A stream. said: of all of them, in the order of the calls."""

    said: list[str]

    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: "Noting") -> None:
        Noting.said.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Noting.said, here = [], [Noting("here")]

    @contextmanager
    def within(stream: Noting):
        here.append(stream)
        yield
        here.pop()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: here[-1])
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(
        branches, "_streams", lambda device: [Noting("first"), Noting("second"), Noting("third")]
    )
    return Noting.said


def work(name: str) -> str:
    Noting.said.append(f"{name} by {torch.cuda.current_stream(CUDA).name}")
    return name


def test_branches_begin_behind_what_was_asked_for_and_are_waited_for(streams: list[str]) -> None:
    assert side_by_side(CUDA, [lambda: work("a"), lambda: work("b"), lambda: work("c")]) == ["a", "b", "c"]
    assert streams[:2] == ["first waits for here", "second waits for here"]
    assert streams[2:5] == ["a by here", "b by first", "c by second"]
    assert streams[5:] == ["here waits for first", "here waits for second"]


def test_branches_are_waited_for_where_one_fails(streams: list[str]) -> None:
    def fails() -> str:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        side_by_side(CUDA, [lambda: work("a"), fails])
    assert streams[-1] == "here waits for first"


def test_a_processor_does_all_in_turn() -> None:
    assert side_by_side(torch.device("cpu"), [lambda: 1, lambda: 2]) == [1, 2]
