"""Layers of the one-dimensional networks: blocks without norm, squeeze-and-excitation, residual and dense blocks."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.tower import ConvBlock

__all__ = [
    "DenseBlock",
    "ExcitedBlock",
    "PlainBlock",
    "ResidualBlock",
    "SqueezeExcitation",
    "TopLevels",
]


class PlainBlock(nn.Module):
    """Convolution, ReLU and, if asked, max pooling over (batch, channels, frames); no norm.

    kernel, stride: of the convolution, in frames (samples in a first layer).
    pad:            zeros (left, right) before it.
    pool:           length and stride of the pooling; 1 pools nothing.
    keep_end:       pool the frames at the end that do not fill a pool, too.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: tuple[int, int] = (0, 0),
        pool: int = 1,
        keep_end: bool = False,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride)
        self.activation = nn.ReLU()
        self.pool = nn.MaxPool1d(pool, ceil_mode=keep_end) if pool > 1 else nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, pooled frames)."""
        if self.pad != (0, 0):
            frames = functional.pad(frames, self.pad)
        return self.pool(self.activation(self.conv(frames)))


class SqueezeExcitation(nn.Module):
    """Each channel times a factor in (0, 1) that a small network reads off the means of all channels.

    ratio:  units between its two dense layers, per channel; above 1 it excites more than it squeezes.
    source: Hu et al. 2018 with the ratio turned round, as in Kim et al. 2018, §3.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, channels * ratio)
        self.reduce = nn.Linear(channels * ratio, channels)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        factors = self.reduce(functional.relu(self.expand(frames.mean(dim=2))))
        return frames * factors.sigmoid().unsqueeze(2)


class ExcitedBlock(ConvBlock):
    """The basic block, and squeeze-and-excitation of what it has pooled."""

    def __init__(self, channels_in: int, channels_out: int, ratio: int) -> None:
        super().__init__(channels_in, channels_out, 3, pad=(1, 1), pool=3)
        self.next_block = (1, 0)  # no block: the excitation
        self.excitation = SqueezeExcitation(channels_out, ratio)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, frames / 3)."""
        return self.excitation(super().forward(frames))


class ResidualBlock(nn.Module):
    """Convolutions of 3 frames beside a shortcut, added, then ReLU and max pooling of 3.

    convolutions: 1 or 2; between two there are ReLU and dropout.
    ratio:        of the squeeze-and-excitation before the sum; 0 has none.
    The shortcut is a 1x1 convolution with batch norm where the number of channels changes, else the input itself.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, convolutions: int, ratio: int, dropout: float
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = nn.Conv1d(channels_in, channels_out, 3, padding=1)
        layers["norm1"] = nn.BatchNorm1d(channels_out)
        if convolutions == 2:
            layers["activation1"] = nn.ReLU()
            layers["dropout"] = nn.Dropout(dropout)
            layers["conv2"] = nn.Conv1d(channels_out, channels_out, 3, padding=1)
            layers["norm2"] = nn.BatchNorm1d(channels_out)
        if ratio:
            layers["excitation"] = SqueezeExcitation(channels_out, ratio)
        self.residual = nn.Sequential(layers)
        self.shortcut = _projection(channels_in, channels_out)
        self.activation = nn.ReLU()
        self.pool = nn.MaxPool1d(3)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, frames / 3)."""
        return self.pool(self.activation(self.shortcut(frames) + self.residual(frames)))


def _projection(channels_in: int, channels_out: int) -> nn.Module:
    if channels_in == channels_out:
        return nn.Identity()
    conv, norm = nn.Conv1d(channels_in, channels_out, 1), nn.BatchNorm1d(channels_out)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm))


class TopLevels(nn.Sequential):
    """Blocks in a row that give the maximum over time of each of the last `levels` of them, side by side.

    (batch, channels, frames) -> (batch, sum of the channels of the last blocks).
    """

    def __init__(self, blocks: OrderedDict[str, nn.Module], levels: int) -> None:
        super().__init__(blocks)
        self.levels = levels

    def forward(self, frames: Tensor) -> Tensor:
        """Run the blocks and pool the top ones."""
        tops = []
        for i, block in enumerate(self, start=1):
            frames = block(frames)
            if i > len(self) - self.levels:
                tops.append(frames.flatten(2).amax(dim=2))
        return torch.cat(tops, dim=1)


class DenseBlock(nn.Module):
    """Dense layer, batch norm, ReLU: (batch, width_in) -> (batch, width_out)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, width_out)
        self.norm = nn.BatchNorm1d(width_out)
        self.activation = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """(batch, width_in) -> (batch, width_out)."""
        return self.activation(self.norm(self.dense(values)))
