"""Tensors of several networks in one run of memory, so that a launch reaches those of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Shelf"]

ALIGNED = 64  # numbers; products of matrices are quicker where they begin at whole 128 bytes


class Shelf:
    """The tensors of several networks of one kind, which lie in `memory` from here on until `close`.

    Numbers of all networks under one name lie together, those of the first network first.

    tensors: of each network by name, alike in names, shapes and kinds.
    form:    of a name, and the shape of the tensors: in what shape they lie, and how that is seen as the tensors', both
             of all networks, (lanes, ...). None where they lie as they are.
    """

    def __init__(
        self,
        tensors: Sequence[dict[str, Tensor]],
        form: Callable[[str, torch.Size], tuple[tuple[int, ...], Callable[[Tensor], Tensor]] | None],
    ) -> None:
        self.lanes = len(tensors)
        self._own, self._homes = list(tensors), list[tuple[Tensor, Tensor]]()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._seen: dict[str, Callable[[Tensor], Tensor]] = {}
        self._starts: dict[str, int] = {}
        numbers = 0
        for name, tensor in tensors[0].items():
            shape, seen = form(name, tensor.shape) or (tuple(tensor.shape), lambda it: it)
            self._shapes[name], self._seen[name], self._starts[name] = (self.lanes, *shape), seen, numbers
            size = self.lanes * torch.Size(shape).numel()
            numbers += -(-size // ALIGNED) * ALIGNED
        self.memory = next(iter(tensors[0].values())).new_zeros(numbers)
        self._move_in()

    def lying(self, memory: Tensor) -> dict[str, Tensor]:
        """What lies in memory of this size, by name, in the shape in which it lies."""
        return {
            name: memory[start : start + torch.Size(self._shapes[name]).numel()].view(self._shapes[name])
            for name, start in self._starts.items()
        }

    def seen(self, memory: Tensor) -> dict[str, Tensor]:
        """The same in the shape of the tensors, (lanes, ...)."""
        return {name: self._seen[name](it) for name, it in self.lying(memory).items()}

    def of_each(self, memory: Tensor) -> list[dict[str, Tensor]]:
        """The same of each network."""
        seen = self.seen(memory)
        return [{name: it[lane] for name, it in seen.items()} for lane in range(self.lanes)]

    def lane_of(self) -> Tensor:
        """Of every number in memory whose it is, uint8. What lies between tensors is the first one's."""
        whose = torch.zeros_like(self.memory, dtype=torch.uint8)
        lanes = torch.arange(self.lanes, dtype=torch.uint8, device=whose.device)
        for it in self.lying(whose).values():
            it.copy_(lanes.view(-1, *[1] * (it.ndim - 1)).expand_as(it))
        return whose

    @torch.no_grad()
    def _move_in(self) -> None:
        for own, theirs in zip(self._own, self.of_each(self.memory), strict=True):
            for name, tensor in own.items():
                theirs[name].copy_(tensor)
                self._homes.append((tensor, tensor.data))
                tensor.data = theirs[name]

    @torch.no_grad()
    def close(self) -> None:
        """Each network has its own memory again, with what is in the tensors now."""
        for tensor, home in self._homes:
            home.copy_(tensor)
            tensor.data = home
        self._homes.clear()
