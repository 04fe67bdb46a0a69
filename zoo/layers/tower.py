"""The m^n networks in torch: a front end makes frames, n modules pool them into one, a classifier."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from zoo.entry import Entry
from zoo.fast.together import trained_together
from zoo.mn_rule import widths
from zoo.network import WaveNetwork, initialise

__all__ = ["ConvBlock", "build_tower", "same_pad"]

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
        self.pad = pad
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride, padding=left if left == right else 0)
        self.norm = nn.BatchNorm1d(channels_out, EPSILON, MOMENTUM)
        # A layer of its own, so that `features` can look at it before the pooling
        self.activation = nn.ReLU()
        self.pool = nn.MaxPool1d(pool) if pool > 1 else nn.Identity()
        # Pool and zeros on the left of the block that takes what this one gives, taken to be like this one where nobody
        # says otherwise. In training on a processor the frames are laid where it wants them; any other copies them.
        self.next_block = (pool, left)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels_in, frames) -> (batch, channels_out, pooled frames)."""
        together = trained_together(self, frames)
        if together is not None:
            return together
        if self.uneven_pad is not None:
            frames = functional.pad(frames, self.uneven_pad)
        return self.pool(self.activation(self.norm(self.conv(frames))))


def build_tower(entry: Entry, front: nn.Module, channels: int, n_tags: int) -> WaveNetwork:
    """A network of the paper: `front`, modules `body.1` to `body.n`, 1x1 convolution `top`, dense `head`.

    entry:    whose options (m, n, filters, padding, dropout, init) it follows.
    front:    (batch, 1, samples) -> (batch, channels, m^n).
    channels: that the front makes.
    n_tags:   length of a row of logits.
    source:   Lee et al. 2017, Table 1.
    """
    options = entry.options
    m = int(options["m"])
    pad = same_pad(m, str(options["padding"]))
    if isinstance(front, ConvBlock):
        front.next_block = (m, pad[0])
    body: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(widths(int(options["n"]), str(options["filters"]), channels), start=1):
        body[str(i)] = ConvBlock(channels, width, m, pad=pad, pool=m)
        channels = width
    stages = {
        "front": front,
        "body": nn.Sequential(body),
        "top": ConvBlock(channels, channels, 1),
        "embedding": nn.Flatten(1),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    network = WaveNetwork(entry, n_tags, channels, stages)
    initialise(network, str(options["init"]))
    return network
