"""The m^n networks in torch: a front end makes frames, n modules pool them into one, a classifier."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from zoo.entry import Entry
from zoo.errors import ZooError
from zoo.mn_rule import widths

__all__ = ["ConvBlock", "WaveNetwork", "same_pad"]

# Keras keeps 99 % of the running statistics at each step; torch names the other 1 %.
EPSILON, MOMENTUM = 1e-5, 0.01


def same_pad(kernel: int, padding: str) -> tuple[int, int]:
    """Zeros (left, right) that keep the length under a filter of `kernel` frames.

    padding: "theano" puts the odd zero of an even filter left, "torch" right; on odd filters they agree.
    source:  Keras 1.1 on Theano pads kernel//2 on both sides and crops the end.
    """
    more, less = kernel // 2, (kernel - 1) // 2
    return (more, less) if padding == "theano" else (less, more)


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU and, if asked, max pooling over (batch, channels, frames).

    kernel, stride: of the convolution, in frames (samples in the first layer).
    pad:            zeros (left, right) before it.
    pool:           length and stride of the pooling; 1 pools nothing.
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
    ) -> None:
        super().__init__()
        left, right = pad
        # Conv1d pads both sides alike; an uneven pad is a copy of its own, made only where it is needed.
        self.uneven_pad = None if left == right else pad
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride, padding=left if left == right else 0)
        self.norm = nn.BatchNorm1d(channels_out, EPSILON, MOMENTUM)
        self.pool = nn.MaxPool1d(pool) if pool > 1 else nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, pooled frames)."""
        if self.uneven_pad is not None:
            frames = functional.pad(frames, self.uneven_pad)
        return self.pool(functional.relu(self.norm(self.conv(frames))))


class WaveNetwork(nn.Module):
    """A network of the paper: `front`, modules `body.1` to `body.n`, 1x1 convolution `top`, dense `head`.

    entry:    whose options (m, n, filters, padding, dropout, init) it follows.
    front:    (batch, 1, samples) -> (batch, channels, m^n).
    channels: that the front makes.
    n_tags:   length of a row of logits.
    source:   Lee et al. 2017, Table 1.
    """

    def __init__(self, entry: Entry, front: nn.Module, channels: int, n_tags: int) -> None:
        super().__init__()
        options = entry.options
        m = int(options["m"])
        pad = same_pad(m, str(options["padding"]))
        self.name, self.input_samples = entry.name, entry.input_samples
        self.front = front
        self.body = nn.ModuleDict()
        for i, width in enumerate(widths(int(options["n"]), str(options["filters"])), start=1):
            self.body[str(i)] = ConvBlock(channels, width, m, pad=pad, pool=m)
            channels = width
        self.top = ConvBlock(channels, channels, 1)
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.head = nn.Linear(channels, n_tags)
        initialise(self, str(options["init"]))

    def forward(self, wave: Tensor) -> Tensor:
        """Tag one segment of each clip.

        wave:    (batch, input_samples), float32 in [-1, 1], mono at the entry's sample rate.
        returns: (batch, n_tags) logits; their sigmoid is a probability per tag.
        raises:  ZooError (a ValueError) if the segments are of another length, shape or type.
        """
        check_wave(wave, self.name, self.input_samples)
        frames = self.front(wave.unsqueeze(1))
        for module in self.body.values():
            frames = module(frames)
        return self.head(self.dropout(self.top(frames).flatten(1)))


def check_wave(wave: Tensor, name: str, input_samples: int) -> None:
    """Raise ZooError unless `wave` is (batch, input_samples) of floating point."""
    if wave.ndim != 2:
        raise ZooError(f"waves have shape {tuple(wave.shape)}, {name} reads (batch, {input_samples})")
    if wave.shape[1] != input_samples:
        raise ZooError(
            f"segment has {wave.shape[1]} samples, {name} reads {input_samples}; "
            f"open the dataset with segment_samples={input_samples}"
        )
    if not wave.is_floating_point():
        raise ZooError(f"waves are {wave.dtype}, {name} reads floats in [-1, 1]; divide int16 by 32768")


def initialise(network: nn.Module, init: str) -> None:
    """Draw fresh weights: convolutions as `init` says, dense layers Glorot uniform, biases zero.

    he_uniform: uniform within sqrt(6 / (channels in * kernel)).
    keras110:   uniform within sqrt(6 / (channels in * channels out)), which Keras 1.1.0 drew under that name,
                for it took the wrong axes of its (kernel, 1, in, out) weights for the fan.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d):
            fan = layer.out_channels if init == "keras110" else layer.kernel_size[0]
            bound = math.sqrt(6 / (layer.in_channels * fan))
            nn.init.uniform_(layer.weight, -bound, bound)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
