"""Work on a GPU that need not wait for each other: in streams, which become branches of a graph that is captured."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import torch

__all__ = ["side_by_side"]

T = TypeVar("T")


def side_by_side(device: torch.device, tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What each of the tasks gives; none may need what another does. On a processor they are done in turn.

    What a task takes of memory can be used and let go of afterwards as if it was taken here: every later task of its
    stream begins behind all that was asked for until then.
    """
    if device.type != "cuda":
        return [task() for task in tasks]
    here, first, *others = torch.cuda.current_stream(device), *tasks
    streams = _side_streams(device, len(others))
    for stream in streams:
        stream.wait_stream(here)
    try:
        found = [first()]
        for stream, task in zip(streams, others, strict=True):
            with torch.cuda.stream(stream):
                found.append(task())
        return found
    finally:
        for stream in streams:
            here.wait_stream(stream)


def _side_streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    """So many, the same ones each time."""
    streams = _streams(device)
    while len(streams) < count:
        streams.append(torch.cuda.Stream(device))
    return streams[:count]


@cache
def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Kept for good: torch holds memory for every stream that multiplies matrices, which no one gives back."""
    return []
