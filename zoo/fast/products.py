"""The convolutions under the m places of a pool as products of matrices, and what they give back on the way back.

Two ways: a product for each place, or Winograd's fewer ones (zoo/fast/winograd.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from zoo.fast import winograd
from zoo.fast.matrices import add_product, product
from zoo.fast.windows import Windows

__all__ = ["Products", "products"]


class Products(Protocol):
    """Of the windows that were given to `products`, by pieces of their rows."""

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        """Each of the m outputs of these rows, (rows, channels out), when it is in `out`, (m, rows, channels out)."""

    def back(self, rows: slice, to_outputs: Sequence[Tensor], into: Windows | None) -> None:
        """Take the gradients of the m outputs, and lay what they are to the frames of these rows into `into`.

        That may be the very windows, of which these rows are not read again. Rows come in order.
        """

    def to_filters(self) -> Tensor:
        """The filters' gradient by all that was taken."""


def products(windows: Windows, filters: Tensor, fewer: bool) -> Products:
    """filters: (m * channels in, channels out). fewer: by Winograd, for the m that it is known for."""
    algorithm = winograd.algorithm(windows.m) if fewer else None
    return _Each(windows, filters) if algorithm is None else _Fewer(windows, filters, algorithm)


class _Each:
    """A window of m frames times all taps, for each output; on the way back, one of m gradients, for each frame."""

    def __init__(self, windows: Windows, filters: Tensor) -> None:
        self.windows, self.filters = windows, filters
        width, channels_out = filters.shape
        # Turned over, so that what oneDNN has to copy is the outputs' gradient and not the m times larger windows
        self.gradient = filters.new_zeros(channels_out, width)
        taps = filters.view(windows.m, windows.channels, channels_out)
        self.back_taps = taps.flip(0).transpose(1, 2).flatten(0, 1)  # (m * channels out, channels in)
        # The outputs' gradients before those of the next rows
        self.behind = filters.new_zeros(windows.m - 1, channels_out)

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        for j, output in enumerate(out):
            yield product(self.windows.shifted(j, rows), self.filters, output)

    def back(self, rows: slice, to_outputs: Sequence[Tensor], into: Windows | None) -> None:
        for j, to_output in enumerate(to_outputs):
            add_product(self.gradient, to_output.t(), self.windows.shifted(j, rows))
        if into is not None:
            self._lay(to_outputs, into.each(rows))

    def _lay(self, to_outputs: Sequence[Tensor], to_frames: Tensor) -> None:
        """In time order, the gradients of the m outputs that saw a frame are a row of a matrix, as its windows are."""
        m, (n, channels_out) = len(to_outputs), to_outputs[0].shape
        in_time = self.filters.new_empty(m - 1 + n * m, channels_out)
        in_time[: m - 1] = self.behind
        torch.stack(list(to_outputs), 1, out=in_time[m - 1 :].view(n, m, channels_out))
        flat = in_time.view(-1)
        for j, to_frame in enumerate(to_frames):
            seen = flat[j * channels_out : (j + n * m) * channels_out].view(n, m * channels_out)
            product(seen, self.back_taps, to_frame)
        self.behind = in_time[n * m :]

    def to_filters(self) -> Tensor:
        return self.gradient.t()


class _Fewer:
    """Sums of frames times sums of taps, of which the outputs are sums."""

    def __init__(self, windows: Windows, filters: Tensor, algorithm: winograd.Algorithm) -> None:
        self.windows, self.by = windows, algorithm
        self.mix = torch.tensor(algorithm.taps, dtype=filters.dtype)
        self.taps = torch.einsum("pm,mio->pio", self.mix, filters.view(windows.m, windows.channels, -1))
        self.to_taps = torch.zeros_like(self.taps)
        self.ahead = filters.new_zeros(windows.m, windows.channels)

    def outputs(self, rows: slice, out: Tensor) -> Iterator[Tensor]:
        factors = [product(frames, taps) for frames, taps in zip(self._frames(rows), self.taps, strict=True)]
        for row, output in zip(self.by.outputs, out, strict=True):
            yield winograd.combined(row, factors, output)

    def back(self, rows: slice, to_outputs: Sequence[Tensor], into: Windows | None) -> None:
        reached = self.taps.new_zeros(self.windows.m, rows.stop - rows.start + 1, self.windows.channels)
        reached[:, 0] = self.ahead
        to_frames = self._seen(reached)
        for p, frames in enumerate(self._frames(rows)):
            to_product = winograd.combined([row[p] for row in self.by.outputs], to_outputs)
            add_product(self.to_taps[p], frames.t(), to_product)
            if into is not None:
                winograd.spread(self.by.frames[p], product(to_product, self.taps[p].t()), to_frames)
        if into is not None:
            into.each(rows).copy_(reached[:, :-1])
            self.ahead = reached[:, -1]

    def to_filters(self) -> Tensor:
        return torch.einsum("pm,pio->mio", self.mix, self.to_taps).flatten(0, 1)

    def _frames(self, rows: slice) -> Iterator[Tensor]:
        """The sum of frames in each product: each made when it is asked for, so that few are in the cache at once."""
        seen = self._seen(self.windows.planes(rows))
        return (winograd.combined(row, seen) for row in self.by.frames)

    def _seen(self, planes: Tensor) -> list[Tensor]:
        """The 2 * m - 1 frames that the shifted windows of a row see together: each (rows, channels)."""
        m, n = self.windows.m, planes.shape[1] - 1
        return [planes[i % m, i // m : i // m + n] for i in range(2 * m - 1)]
