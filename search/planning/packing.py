"""How many trials share a GPU: by the memory that networks of their kind were seen to take, not by what they ask for.

A plain decision: no GPU is asked here. What a trial needs is predicted from its activations and weights; the first
trial of a family on a kind of GPU gets a whole one and shows how wrong that was, and those after it are packed.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from search.planning.job import PROCESS_BYTES

CONTEXT_BYTES = PROCESS_BYTES  # of CUDA's own in every process, which no allocator counts
MARGIN = 1.15  # the next network of the family may be a little further off than those seen
MOST_ON_ONE = 8  # beyond this, processes mostly wait for each other


@dataclass(frozen=True)
class Seen:
    """What a trial, or several at once in one process, took of a GPU.

    predicted_bytes: what it was thought to need, CUDA's own included. peak_bytes: the most its allocator held, but for
    music that was put there. gpu_bytes: of the whole GPU.
    """

    family: str
    predicted_bytes: int
    peak_bytes: int
    gpu_bytes: int


def ratio(seen: Iterable[Seen], family: str) -> float | None:
    """How many times more than predicted a family's networks take, at the worst seen; None where none was seen."""
    found = [
        each.peak_bytes / max(each.predicted_bytes - CONTEXT_BYTES, 1)
        for each in seen
        if each.family == family
    ]
    return max(found, default=None)


def need_bytes(predicted_bytes: int, times: float) -> int:
    """What a trial is given room for. times: of `ratio`."""
    return CONTEXT_BYTES + int(MARGIN * times * max(predicted_bytes - CONTEXT_BYTES, 0))


def share(needed_bytes: int, gpu_bytes: int) -> float:
    """The part of a GPU for a trial: one over how many of its kind fit, and all of it if not even two do."""
    return 1 / min(max(gpu_bytes // needed_bytes, 1), MOST_ON_ONE)


def allocator_share(gpu_share: float, gpu_bytes: int) -> float:
    """What of the GPU's memory a process with this share may allocate: CUDA's own comes off first."""
    return max(gpu_share - CONTEXT_BYTES / gpu_bytes, 0.5 * gpu_share)


class Packer:
    """The GPUs of a search and the trials on them.

    fixed: every trial's part, where the words say it; None packs by what was seen. gpus: how many there are.
    seen:  by earlier searches, on these kinds of GPU. Of GPUs of several sizes the smallest counts.
    """

    def __init__(self, fixed: float | None, gpus: float, seen: Iterable[Seen] = ()) -> None:
        self.fixed, self.gpus, self.seen = fixed, gpus, list(seen)
        self.held: dict[str, float] = {}  # by trial

    def share(self, family: str, predicted_bytes: int) -> float:
        """The part of a GPU that a trial gets."""
        if not self.gpus:
            return 0.0
        if self.fixed is not None:
            return self.fixed
        times = ratio(self.seen, family)
        if times is None:
            return min(self.gpus, 1.0)
        smallest = min(each.gpu_bytes for each in self.seen)
        return share(need_bytes(predicted_bytes, times), smallest)

    def most_in_one(self, family: str, predicted_bytes: int) -> int:
        """How many trials of a kind one process has a GPU's memory for; while none was seen, nobody knows a limit."""
        times = ratio(self.seen, family)
        if times is None:
            return sys.maxsize
        whole = min(each.gpu_bytes for each in self.seen)
        allowed = int(whole * min(self.fixed or 1.0, 1.0)) - CONTEXT_BYTES
        return max(allowed // max(need_bytes(predicted_bytes, times) - CONTEXT_BYTES, 1), 1)

    def has_room(self, part: float) -> bool:
        """Whether a trial with this part can start now."""
        return not self.gpus or sum(self.held.values()) + part <= self.gpus + 1e-9

    def hold(self, trial: str, part: float) -> None:
        self.held[trial] = part

    def release(self, trial: str) -> float:
        """The trial has ended. returns: the part it held."""
        return self.held.pop(trial, 0.0)

    def saw(self, seen: Seen) -> None:
        self.seen.append(seen)
