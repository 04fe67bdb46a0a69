"""Layers of the m^n networks that are only asked, on a processor: what they give in evaluation, faster.

- Under each of the m places of a pool, a convolution is one product of matrices (see zoo/fast/windows.py). The largest
  of m frames is taken before bias and ReLU, which keep the order of frames.
- All goes by pieces that stay in the cache, and no frame of a block is in memory before its pool.
- A first layer of short filters makes more frames than all others together. They are made piece by piece where the
  block behind it takes them: an allocator that gives large blocks back to the kernel has none to give.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.fast.matrices import product
from zoo.fast.together import is_transformed, lies_side_by_side
from zoo.fast.windows import Windows, pieces

__all__ = ["ask_together"]

FEWEST_FRAMES = 2048  # of a clip, made by pieces; fewer don't fill a piece


def ask_together(network: nn.Module) -> None:
    """Let the blocks of a network be asked as one step each, and the first layer with the block behind it.

    network: only to be asked, on a processor, its batch norms folded into the convolutions.
    """
    for layer in list(network.modules()):
        if _is_folded(layer) and _pools_what_it_filters(layer):
            layer.conv = AskedBlock(layer.conv, layer.pad, layer.next_block)
            layer.uneven_pad, layer.activation, layer.pool = None, nn.Identity(), nn.Identity()
    for layer in list(network.modules()):
        before: Any = getattr(layer, "before", layer)
        front, body = getattr(before, "front", None), getattr(layer, "body", None)
        if not _is_folded(front) or not lies_side_by_side(front) or not isinstance(body, nn.Sequential):
            continue
        block: Any = body[0]
        if isinstance(getattr(block, "conv", None), AskedBlock):
            block.conv, before.front = AskedStart(front, block.conv), nn.Identity()


def _is_folded(block: Any) -> TypeGuard[Any]:
    """Convolution, ReLU and whatever pools; no norm any more."""
    conv = getattr(block, "conv", None)
    return (
        hasattr(block, "next_block")
        and isinstance(conv, nn.Conv1d)
        and conv.bias is not None
        and type(block.norm) is nn.Identity
        and type(block.activation) is nn.ReLU
    )


def _pools_what_it_filters(block: Any) -> bool:
    """A filter of m frames at every frame, and pools of m; none of 1."""
    m = block.conv.kernel_size[0]
    pools = getattr(block.pool, "kernel_size", 1)
    return block.conv.stride == (1,) and pools == m and sum(block.pad) == m - 1


def _only_asks(frames: Tensor, taps: Tensor) -> bool:
    """Nobody wants a gradient, another precision, or to see the layers."""
    return frames.dtype == taps.dtype and not frames.requires_grad and not is_transformed()


class AskedBlock(nn.Module):
    """Convolution, pooling and ReLU of a block.

    conv:       of m frames. pad: zeros (left, right) before it, m - 1 together.
    next_block: m and zeros on the left of the one that takes the result, which then takes it without a copy.
    """

    def __init__(self, conv: nn.Conv1d, pad: tuple[int, int], next_block: tuple[int, int]) -> None:
        super().__init__()
        self.conv, self.pad, self.next_block = conv, pad, next_block
        self.m = conv.kernel_size[0]
        self.taps = nn.Buffer(conv.weight.permute(2, 1, 0).flatten(0, 1).contiguous(), persistent=False)
        assert conv.bias is not None
        self.bias = conv.bias

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels in, frames) -> (batch, channels out, frames / m)."""
        clips, _, length = frames.shape
        if length % self.m or not _only_asks(frames, self.taps):
            return self._by_layers(frames)
        windows = Windows.lying_in(frames, self.m, self.pad[0]) or Windows.of(frames, self.m, self.pad[0])
        result = self.room(clips, length // self.m)
        for piece in windows.pieces(len(self.taps)):
            pools = piece.inner(self.largest(windows, piece.rows))
            torch.add(pools, self.bias, out=result[piece.clips, piece.pools]).relu_()
        return result.transpose(1, 2)

    def room(self, clips: int, pools: int) -> Tensor:
        """(clips, pools, channels out), where the next block looks for it."""
        return Windows.room((clips, pools, self.conv.out_channels), self.next_block, like=self.taps)

    def largest(self, windows: Windows, rows: slice) -> Tensor:
        """(rows, channels out): of the m outputs of each row the largest, before the bias."""
        found = product(windows.shifted(0, rows), self.taps)
        for j in range(1, self.m):
            torch.maximum(found, product(windows.shifted(j, rows), self.taps), out=found)
        return found

    def _by_layers(self, frames: Tensor) -> Tensor:
        if self.conv.padding == (0,):
            frames = functional.pad(frames, self.pad)
        return functional.relu(functional.max_pool1d(self.conv(frames), self.m))


class AskedStart(nn.Module):
    """A first layer, whose filters lie side by side on the waveform, its ReLU, and the block behind it."""

    def __init__(self, front: Any, block: AskedBlock) -> None:
        super().__init__()
        self.front, self.block = front, block
        self.taps = nn.Buffer(front.conv.weight.flatten(1).t().contiguous(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, channels out, pools)."""
        m, (length, channels) = self.block.m, self.taps.shape
        clips, frames = wave.shape[0], wave.shape[2] // length
        if not _only_asks(wave, self.taps):
            return self.block(self.front(wave))
        heard = wave[:, 0, : frames * length].reshape(clips, frames, length)
        if frames < FEWEST_FRAMES:
            made = Windows.room((clips, frames, channels), (m, self.block.pad[0]), like=self.taps)
            for some in pieces(clips, frames * channels):
                self._make(heard[some], made[some])
            return self.block(made.transpose(1, 2))
        result = self.block.room(clips, frames // m)
        for clip in range(clips):
            for pools in pieces(frames // m, m * channels):
                windows = self._windows(heard[clip], pools)
                largest = self.block.largest(windows, slice(0, pools.stop - pools.start))
                torch.add(largest, self.block.bias, out=result[clip, pools]).relu_()
        return result.transpose(1, 2)

    def _make(self, heard: Tensor, out: Tensor) -> None:
        """Frames of (..., samples) into (..., channels)."""
        made = product(heard.flatten(0, -2), self.taps)
        torch.add(made.view(out.shape), self.front.conv.bias, out=out).relu_()

    def _windows(self, heard: Tensor, pools: slice) -> Windows:
        """The frames that the block behind sees of these pools. heard: (frames, samples) of a clip."""
        m, (left, _) = self.block.m, self.block.pad
        count = (pools.stop - pools.start) * m
        windows = Windows.empty(1, count, self.taps.shape[1], m, self.taps)
        start = (
            pools.start * m - left
        )  # of the frames that are seen; those before and after the clip are zeros
        seen = windows.inner(0, count + m - 1)[0]
        inside = slice(max(start, 0), min(start + len(seen), len(heard)))
        first, last = inside.start - start, inside.stop - start
        seen[:first].zero_()
        self._make(heard[inside], seen[first:last])
        seen[last:].zero_()
        return windows
