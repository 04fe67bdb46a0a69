"""Random numbers of several trainings in one process: each draws from a stream of its own, as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Chance"]


class Chance:
    """What torch's generator draws next as one training has it, while others draw from it in between.

    On a GPU it is the generator there, by which a network on it draws; a captured step goes on with it (`register`).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._state = torch.get_rng_state()  # on a processor
        self._own = _of_gpu(device).clone_state() if device.type == "cuda" else None

    @contextmanager
    def own(self) -> Iterator[None]:
        """What is drawn in here goes on from what was drawn in here before."""
        if self._own is None:
            others = torch.get_rng_state()
            torch.set_rng_state(self._state)
            try:
                yield
            finally:
                self._state = torch.get_rng_state()
                torch.set_rng_state(others)
            return
        here = _of_gpu(self.device)
        before = here.graphsafe_get_state()
        here.graphsafe_set_state(
            self._own
        )  # from here on they are the same: nothing has to be read afterwards
        try:
            yield
        finally:
            here.graphsafe_set_state(before)

    @contextmanager
    def undrawn(self) -> Iterator[None]:
        """What is drawn in here is drawn once more afterwards."""
        before = self._now()
        try:
            yield
        finally:
            if self._own is None:
                self._state = before
            else:
                self._own.set_state(before)

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Before a graph is captured: what it draws in `own` each replay draws anew, going on from the one before."""
        if self._own is not None:
            graph.register_generator_state(self._own)

    def _now(self) -> Tensor:
        return self._state if self._own is None else self._own.get_state()


def _of_gpu(device: torch.device) -> torch.Generator:
    torch.cuda.init()
    number = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[number]
