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
        rank = _ranks(values)  # 0 is the highest; whole numbers have no ties
        order = torch.argsort(rank, dim=-1)
        right, left = _lowest_before_a_higher(torch.stack([rank, rank.flip(-1)])).unbind()
        # A piece ends at the shallower of the dips to its two sides. Where there is none it is the highest of all,
        # and `length`, which stands for that, becomes the rank of the minimum.
        death = torch.minimum(left.flip(-1), right).clamp(max=length - 1).long()
        where = order.gather(-1, death)
    return values, values.gather(-1, where)


def _ranks(values: Tensor) -> Tensor:
    """How many elements of the sequence are higher, or as high and earlier: (..., length) -> the same, int32.

    Every element against every other: ONNX has no stable sort.
    """
    at = torch.arange(values.shape[-1], device=values.device)
    other, own = values.unsqueeze(-2), values.unsqueeze(-1)
    higher = (other > own) | ((other == own) & (at < at.unsqueeze(1)))
    return higher.float().sum(dim=-1).int()  # floats: truth values are summed several times more slowly


def _lowest_before_a_higher(rank: Tensor) -> Tensor:
    """For each element the largest rank (lowest value) from it up to the first of smaller rank on its right.

    returns: of rank's shape; its length where no element to the right is higher.
    Walks right in steps of ..., 4, 2, 1 elements, each taken if nothing higher lies in it: fewer operations, and a
    much smaller exported graph, than one element at a time.
    """
    length = rank.shape[-1]
    steps = [1 << k for k in range((length - 1).bit_length())]
    # The element after each; behind the end, as far as the steps reach, nothing is higher than anything.
    ahead = pad(rank[..., 1:], (0, 2 + sum(steps)), value=length)
    highest, deepest = [ahead], [ahead]  # ranks among the next 1, 2, 4, ... elements
    for step in steps[:-1]:
        highest.append(torch.minimum(highest[-1], _moved(highest[-1], step, length)))
        deepest.append(torch.maximum(deepest[-1], _moved(deepest[-1], step, length)))
    lowest, at = rank, torch.arange(length, device=rank.device).expand_as(rank)
    for step, high, deep in reversed(list(zip(steps, highest, deepest, strict=False))):
        free = high.gather(-1, at) > rank
        lowest = torch.where(free, torch.maximum(lowest, deep.gather(-1, at)), lowest)
        at = torch.where(free, at + step, at)
    return torch.where(ahead.gather(-1, at) < rank, lowest, length)


def _moved(ranks: Tensor, step: int, beyond: int) -> Tensor:
    return pad(ranks[..., step:], (0, step), value=beyond)


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
