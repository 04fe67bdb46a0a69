"""Winograd's minimal filtering: the m outputs under a pool from fewer products than the m * m that they consist of.

Together they see 2 * m - 1 frames. Sums of frames times sums of taps give products of which the outputs are sums, too:
3 of them for m = 2 instead of 4, 5 for 3 instead of 9, 9 for 4, 14 for 5 instead of 25. Each is a product of matrices
over the channels; the sums cost a pass over memory each. They round up to five times as much as torch's layers do,
so whoever trains decides.

source: Winograd 1980, Arithmetic complexity of computations; Lavin and Gray 2015, https://arxiv.org/abs/1509.09308.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

__all__ = ["Algorithm", "algorithm", "combined", "is_wanted", "spread", "wanted"]

Terms = tuple[tuple[int, float], ...]  # of a sum: which one, and how often

_WANTED: ContextVar[bool] = ContextVar("winograd", default=False)


class wanted(AbstractContextManager[None]):
    """Blocks whose way forwards begins in here are trained with fewer products, or not, in this thread."""

    def __init__(self, yes: bool = True) -> None:
        self.yes = yes
        self._before: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._before.append(_WANTED.set(self.yes))

    def __exit__(self, *error: object) -> None:
        _WANTED.reset(self._before.pop())


def is_wanted() -> bool:
    """Whether this thread is inside `wanted()`."""
    return _WANTED.get()


@dataclass(frozen=True)
class Algorithm:
    """For m taps and m outputs; all matrices by rows.

    frames:  (products, 2 * m - 1), the sum of frames in each product.
    taps:    (products, m), the sum of taps in it.
    outputs: (m, products), the sum of products that is each output.
    """

    frames: tuple[tuple[float, ...], ...]
    taps: tuple[tuple[float, ...], ...]
    outputs: tuple[tuple[float, ...], ...]

    @property
    def products(self) -> int:
        """How many there are."""
        return len(self.taps)

    def over(self, inner: Algorithm) -> Algorithm:
        """For blocks of frames, taps and outputs, each product of which is taken by another algorithm."""
        q = len(inner.outputs)
        return Algorithm(
            frames=_spread(self.frames, inner.frames, q),
            taps=_spread(self.taps, inner.taps, q),
            outputs=_turned(_spread(_turned(self.outputs), _turned(inner.outputs), q)),
        )

    def shortened(self, m: int) -> Algorithm:
        """For fewer taps and outputs; products that are then nothing, or wanted by nobody, are left out."""
        taps, outputs = [row[:m] for row in self.taps], _turned(self.outputs[:m])
        kept = [i for i in range(self.products) if any(taps[i]) and any(outputs[i])]
        return Algorithm(
            frames=tuple(self.frames[i][: 2 * m - 1] for i in kept),  # those after them cancel out
            taps=tuple(taps[i] for i in kept),
            outputs=_turned(tuple(outputs[i] for i in kept)),
        )


_TWO = Algorithm(
    frames=((1, -1, 0), (0, 1, 0), (0, -1, 1)),
    taps=((1, 0), (1, 1), (0, 1)),
    outputs=((1, 1, 0), (0, 1, 1)),
)
# By polynomials at 0, 1, -1, 2 and infinity.
_THREE = Algorithm(
    frames=((2, -1, -2, 1, 0), (0, -2, -1, 1, 0), (0, 2, -3, 1, 0), (0, -1, 0, 1, 0), (0, 2, -1, -2, 1)),
    taps=((1 / 2, 0, 0), (-1 / 2, -1 / 2, -1 / 2), (-1 / 6, 1 / 6, -1 / 6), (1 / 6, 1 / 3, 2 / 3), (0, 0, 1)),
    outputs=((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1)),
)


@cache
def algorithm(m: int) -> Algorithm | None:
    """For m taps and outputs, 2 to 5; None for others."""
    match m:
        case 2:
            return _TWO
        case 3:
            return _THREE
        case 4:
            return _TWO.over(_TWO)
        case 5:
            return _TWO.over(_THREE).shortened(5)
    return None


def combined(row: Sequence[float], given: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """The sum of matrices that a row of numbers says: how often each is in it.

    out: where to put it; without, a sum that is one of the matrices itself is not copied.
    """
    (first, often), *others = _terms(tuple(row))
    total = given[first] if often == 1 else torch.mul(given[first], often, out=out)
    for n, (which, weight) in enumerate(others):
        if n:
            total.add_(given[which], alpha=weight)
        else:
            total = torch.add(total, given[which], alpha=weight, out=out)
    return total if out is None or others else out.copy_(total)


def spread(row: Sequence[float], given: Tensor, into: Sequence[Tensor]) -> None:
    """The other way: a matrix is added to each as often as a row of numbers says."""
    for one, often in zip(into, row, strict=True):
        if often:
            one.add_(given, alpha=often)


@cache
def _terms(row: tuple[float, ...]) -> Terms:
    """Of a row of numbers; first one that is there once, so that it needs no multiplication."""
    terms = [(i, weight) for i, weight in enumerate(row) if weight]
    return tuple(sorted(terms, key=lambda term: term[1] != 1))


def _spread(
    outer: Sequence[Sequence[float]], inner: Sequence[Sequence[float]], q: int
) -> tuple[tuple[float, ...], ...]:
    """Rows for every pair of rows; what stands at i in the one and at a in the other comes to q * i + a."""
    width = q * (len(outer[0]) - 1) + len(inner[0])
    rows = []
    for one in outer:
        for two in inner:
            row = [0.0] * width
            for i, x in enumerate(one):
                for a, y in enumerate(two):
                    row[q * i + a] += x * y
            rows.append(tuple(row))
    return tuple(rows)


def _turned(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(zip(*rows, strict=True))
