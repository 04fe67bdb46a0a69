"""Blocks of musicnn: filters tall enough for timbre or long enough for rhythm, and what sums them up over time."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

__all__ = ["DenselyConnected", "Filters", "Horizontal", "MaxAndMean", "TimeBlock", "Vertical"]


class TimeBlock(nn.Module):
    """Convolution over time that keeps the length, batch norm, ReLU.

    (batch, channels_in, frames) -> (batch, channels_out, frames); the kernel has an odd number of frames.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(channels_out)
        self.activation = nn.ReLU()

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, frames)."""
        return self.activation(self.norm(self.conv(frames)))


class Vertical(nn.Module):
    """Timbre: tall filters slid over all bands, of which the loudest place counts, so pitch does not.

    bands, frames: the size of a filter.
    """

    def __init__(self, filters: int, bands: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, filters, (bands, frames), padding=(0, frames // 2))
        self.norm = nn.BatchNorm2d(filters)
        self.activation = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 1, bands, frames) -> (batch, filters, frames)."""
        return self.activation(self.norm(self.conv(image))).amax(dim=2)


class Horizontal(TimeBlock):
    """Rhythm: long filters over the mean of all bands, the course of the energy."""

    def __init__(self, filters: int, frames: int) -> None:
        super().__init__(1, filters, frames)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 1, bands, frames) -> (batch, filters, frames)."""
        return super().forward(image.mean(dim=2))


class Filters(nn.Module):
    """Several of the above side by side, called "1", "2", ...: (batch, 1, bands, frames) -> (batch, sum, frames)."""

    def __init__(self, *blocks: Vertical | Horizontal) -> None:
        super().__init__()
        for i, block in enumerate(blocks, start=1):
            self.add_module(str(i), block)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 1, bands, frames) -> (batch, filters of all, frames)."""
        return torch.cat([block(image) for block in self.children()], dim=1)


class DenselyConnected(nn.Sequential):
    """Three convolutions over time, the last two with a way past them, and the outputs of all beside the input."""

    def __init__(self, channels_in: int, channels: int, kernel: int) -> None:
        widths = (channels_in, channels, channels)
        blocks = (TimeBlock(width, channels, kernel) for width in widths)
        super().__init__(OrderedDict((str(i), block) for i, block in enumerate(blocks, start=1)))

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_in + 3 * channels, frames)."""
        first, second, third = self
        one = first(frames)
        two = second(one) + one
        three = third(two) + two
        return torch.cat([frames, one, two, three], dim=1)


class MaxAndMean(nn.Module):
    """The maximum over time, then the mean: (batch, channels, frames) -> (batch, 2 * channels)."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, 2 * channels)."""
        return torch.cat([frames.amax(dim=2), frames.mean(dim=2)], dim=1)
