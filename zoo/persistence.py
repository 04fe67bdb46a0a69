"""Persistence landscapes of sequences: what of their peaks is left when small ones are swallowed by larger ones.

The superlevel sets {i: x_i >= t} of a sequence grow as t falls. Each peak begins a piece (its birth, at the peak's
value); where two pieces meet, the one with the lower peak ends (its death, at the value of the dip between them).
The highest peak's piece is never swallowed and is said to die at the minimum. Landscapes are functions of t made of
these pairs: the k-th largest of the tents min(birth - t, t - death) that are positive.

source: Bubenik 2015 for landscapes; Liu, Jeng, Yang 2016, https://arxiv.org/abs/1608.07373, for this use of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["PersistenceLandscape", "births_and_deaths"]


def births_and_deaths(values: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of superlevel-set 0-dimensional persistence of sequences, and the pair (maximum, minimum).

    values:  (..., length).
    returns: (..., length) each: every element as a birth, and its death. An element that is no peak dies at once and
             is a pair of no persistence. Gradients flow to the elements whose values they are.
             Of equal values the earlier counts as the higher, so equal inputs always give equal gradients.
    """
    length = values.shape[-1]
    with torch.no_grad():
        order = torch.argsort(values, dim=-1, descending=True, stable=True)
        rank = torch.argsort(order, dim=-1).int()  # 0 is the highest; whole numbers have no ties
        right = _lowest_before_a_higher(rank)
        left = _lowest_before_a_higher(rank.flip(-1)).flip(-1)
        # A piece ends at the shallower of the dips to its two sides. Where there is none it is the highest of all,
        # and `length`, which stands for that, becomes the rank of the minimum.
        death = torch.minimum(left, right).clamp(max=length - 1).long()
        where = order.gather(-1, death)
    return values, values.gather(-1, where)


def _lowest_before_a_higher(rank: Tensor) -> Tensor:
    """For each element the largest rank (lowest value) from it up to the first of smaller rank on its right.

    returns: of rank's shape; its length where no element to the right is higher.
    """
    length = rank.shape[-1]
    beyond = pad(rank, (0, length), value=length)  # nothing behind the end is higher than anything
    lowest, climbing = rank, torch.ones_like(rank, dtype=torch.bool)
    for step in range(1, length + 1):
        neighbour = beyond[..., step : step + length]
        lowest = torch.where(climbing, torch.maximum(lowest, neighbour), lowest)
        climbing = climbing & (neighbour > rank)
    return lowest


class PersistenceLandscape(nn.Module):
    """The first landscape functions of each channel on patches of frames, at points 0, step, 2 step, ...

    patch:     frames; those at the end that fill none are left out.
    functions: how many, the largest first; at most `patch`, for there are no more pairs.
    points:    at how many levels each is read.
    step:      between levels, in units of the activation.
    """

    levels: Tensor

    def __init__(self, patch: int, functions: int, points: int, step: float) -> None:
        super().__init__()
        self.patch, self.functions = patch, functions
        self.register_buffer("levels", step * torch.arange(points, dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, channels * functions * points, patches).

        Channels change slowest and levels fastest, as in the authors' code.
        """
        whole = frames.shape[2] // self.patch * self.patch
        patches = frames[..., :whole].unflatten(2, (-1, self.patch))
        landscapes = self.landscapes(patches)  # (batch, channels, patches, points, functions)
        return landscapes.permute(0, 1, 4, 3, 2).flatten(1, 3)

    def landscapes(self, values: Tensor) -> Tensor:
        """(..., length) sequences -> (..., points, functions)."""
        births, deaths = births_and_deaths(values)
        levels = self.levels.to(values.dtype).unsqueeze(1)
        tents = torch.minimum(births.unsqueeze(-2) - levels, levels - deaths.unsqueeze(-2))
        return tents.relu().topk(self.functions, dim=-1).values
