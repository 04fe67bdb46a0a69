"""The convolutions under the m places of a pool as products of matrices, and what they give back on the way back.

Two ways: a product for each place, or Winograd's fewer ones (zoo/fast/winograd.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from zoo.fast import winograd
from zoo.fast.windows import Windows

__all__ = ["Products", "products"]


class Products(Protocol):
    """Of the windows that were given to `products`, by pieces of their rows.

    share: how many times as many operands there are as for one product; see windows.pieces.
    """

    share: int

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        """Each of the m outputs of these rows, (rows, channels out), when it is in `out`, (m, rows, channels out)."""

    def back(self, rows: slice, to_outputs: Iterator[Tensor], before: Windows | None) -> None:
        """Take the gradients of the m outputs; what they are to the frames is added to `before`."""

    def to_filters(self) -> Tensor:
        """The filters' gradient by all that was taken."""


def products(windows: Windows, filters: Tensor, fewer: bool) -> Products:
    """filters: (m * channels in, channels out). fewer: by Winograd, for the m that it is known for."""
    algorithm = winograd.algorithm(windows.m) if fewer else None
    return _Each(windows, filters) if algorithm is None else _Fewer(windows, filters, algorithm)


class _Each:
    """A window of m frames times all taps, for each output."""

    share = 1

    def __init__(self, windows: Windows, filters: Tensor) -> None:
        self.windows, self.filters = windows, filters
        self.gradient: Tensor | None = None

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        for j, output in enumerate(out):
            yield torch.mm(self.windows.shifted(j, rows), self.filters, out=output)

    def back(self, rows: slice, to_outputs: Iterator[Tensor], before: Windows | None) -> None:
        if self.gradient is None:
            self.gradient = torch.zeros_like(self.filters)
        for j, to_output in enumerate(to_outputs):
            self.gradient.addmm_(self.windows.shifted(j, rows).t(), to_output)
            if before:
                before.shifted(j, rows).addmm_(to_output, self.filters.t())

    def to_filters(self) -> Tensor:
        assert self.gradient is not None
        return self.gradient


class _Fewer:
    """Sums of frames times sums of taps, of which the outputs are sums."""

    share = 4

    def __init__(self, windows: Windows, filters: Tensor, algorithm: winograd.Algorithm) -> None:
        self.windows, self.by = windows, algorithm
        self.mix = torch.tensor(algorithm.taps, dtype=filters.dtype)
        self.taps = torch.einsum("pm,mio->pio", self.mix, filters.view(windows.m, windows.channels, -1))
        self.to_taps: Tensor | None = None

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        factors = [torch.mm(frames, taps) for frames, taps in zip(self._frames(rows), self.taps, strict=True)]
        yield from winograd.combined(self.by.outputs, factors, out)

    def back(self, rows: slice, to_outputs: Iterator[Tensor], before: Windows | None) -> None:
        if self.to_taps is None:
            self.to_taps = torch.zeros_like(self.taps)
        sums = list(zip(*self.by.outputs, strict=True))
        to_products = winograd.combined(sums, list(to_outputs))
        for p, frames in enumerate(self._frames(rows)):
            self.to_taps[p].addmm_(frames.t(), to_products[p])
        if before is None:
            return
        to_frames = before.seen(rows)
        for p, to_product in enumerate(to_products):
            to_sum = torch.mm(to_product, self.taps[p].t())
            for to_frame, often in zip(to_frames, self.by.frames[p], strict=True):
                if often:
                    to_frame.add_(to_sum, alpha=often)

    def to_filters(self) -> Tensor:
        assert self.to_taps is not None
        return torch.einsum("pm,pio->mio", self.mix, self.to_taps).flatten(0, 1)

    def _frames(self, rows: slice) -> list[Tensor]:
        return winograd.combined(self.by.frames, self.windows.seen(rows))
