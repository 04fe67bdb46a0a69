"""Convolution, batch norm, ReLU and pooling as one step of training on a GPU: what `ConvBlock` computes, faster.

The same function as its layers one after the other and the same gradients, by the algebra of zoo/fast/fused.py and
zoo/fast/strided.py. Frames lie in time order with all channels beside each other, in float32, or in bfloat16 under
autocast; statistics, weights and their gradients are float32 or wider. cuDNN and cuBLAS take the convolutions (see
convolving.py), and kernels.py what lies between them: of the outputs of a convolution, the widest of all tensors, one
reading forwards and one reading and writing backwards.

A block may be that of several networks at once: of each its own weights and its own part of the batch (stacked.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.fast import gradient_kernels, kernels, sample_kernels
from zoo.fast.branches import side_by_side
from zoo.fast.convolving import Convolved, convolved
from zoo.fast.lanes import Filters, convolved_of_lanes
from zoo.fast.windows import Windows

__all__ = ["MOST_SAMPLES", "Norm", "filtered_block", "numbers_of", "sample_block"]

MOST_SAMPLES = 8  # of a filter whose frames are made again rather than kept
# Of a program, as measured; see tests/benchmarks/README.md.
ROWS, COLUMNS = 16, 128
LOW = 8  # rows where a program holds much of each
OF_LANES = 32, 64  # rows and columns of the same for several networks
NARROW = 16  # columns where it puts parts together
MOST_PROGRAMS = 1024  # whose parts are put together, of all networks


class Norm(NamedTuple):
    """A batch norm in training. bias: of the convolution before it, which moves nothing but the running mean."""

    scale: Tensor
    shift: Tensor
    bias: Tensor
    running_mean: Tensor
    running_variance: Tensor
    batches: Tensor
    epsilon: float
    momentum: float


def filtered_block(
    frames: Tensor,
    weight: Tensor | Filters,
    norm: Norm,
    left: int,
    pool: int,
    next_block: tuple[int, int] | None = None,
) -> Tensor:
    """Convolution, batch norm by the batch's own statistics, ReLU and pooling; the running statistics move on.

    frames: (batch, channels in, frames). weight: (channels out, channels in, length). Of several networks these are
            their Filters, which keep their gradient; clips come one network's after another's, as many of each, and a
            norm's tensors are (lanes * channels,).
    left:   zeros before the frames, of length - 1 in all, for a filter at every frame. -1: filters lie side by side.
    pool:   frames of a pool, which divide those of the convolution; 1 pools nothing.
    next_block: pool and zeros on the left of the one of several networks that takes the result, which it then takes
            without a copy.
    returns: (batch, channels out, pools), in memory frame by frame; bfloat16 under autocast.
    """
    return _Filtered.apply(frames, weight, norm.scale, norm.shift, norm.bias, norm, left, pool, next_block)


def sample_block(wave: Tensor, weight: Tensor, norm: Norm) -> Tensor:
    """The same of short filters that lie side by side on the waveform, without pooling.

    wave: (batch, 1, samples) float32, which gets no gradient. weight: (channels, 1, length), at most MOST_SAMPLES.
    """
    return _Samples.apply(wave, weight, norm.scale, norm.shift, norm.bias, norm)


class _Filtered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        frames, weight, scale, shift, bias, norm, left, pool, next_block = given
        if isinstance(weight, Filters):
            work: Convolved = convolved_of_lanes(frames, weight, left)
        else:
            work = convolved(frames, weight, left, numbers_of(frames.device))
        y = work.outputs()
        z, known = _pooled(y, work, pool, norm._replace(scale=scale, shift=shift, bias=bias))
        result = _activated(y, z, scale, known, work.length // pool, pool == 1, next_block)
        ctx.save_for_backward(y, z, scale, known)
        ctx.work, ctx.pool = work, pool
        return result.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, z, scale, known = ctx.saved_tensors
        work, pool = ctx.work, ctx.pool
        lanes, rows, channels = _lanes_of(gradient.transpose(1, 2), scale)
        gradient, length = _spaced(gradient.transpose(1, 2), lanes)
        slopes = partial(_slopes, gradient, length, z, scale, known, pool)
        room = partial(work.room_for_gradients, y)
        if lanes > 1:
            found, to_outputs = side_by_side(y.device, [slopes, room])
        else:  # which may be beside another one's
            found, to_outputs = slopes(), room()
        pools = gradient.shape[1]
        height, width = OF_LANES if lanes > 1 else (LOW, COLUMNS)
        gradient_kernels.spread[_tiles(rows, len(scale), height, width)](
            *(gradient, y, scale, known, found, to_outputs),
            *(rows, pools, length, y.shape[1], work.first, channels, len(scale)),
            SEVERAL=lanes > 1,
            M=pool,
            GAPS=length > pools,
            ROWS=height,
            COLUMNS=width,
        )
        to_frames, to_weight = work.gradients(to_outputs, ctx.needs_input_grad[0])
        if to_weight is not None:
            to_weight = to_weight.to(scale.dtype, memory_format=torch.contiguous_format)
        nothing = torch.zeros_like(scale) if ctx.needs_input_grad[4] else None  # what the bias moves
        return to_frames, to_weight, found[1], found[0], nothing, None, None, None, None


def _lanes_of(frames: Tensor, scale: Tensor) -> tuple[int, int, int]:
    """How many networks the clips (clips, frames, channels) are of; rows and channels of each."""
    clips, length, channels = frames.shape
    lanes = len(scale) // channels
    return lanes, clips // lanes * length, channels


def _spaced(frames: Tensor, lanes: int) -> tuple[Tensor, int]:
    """(clips, frames, channels) as the kernels read them, and how many frames the clips are apart in memory."""
    _, length, channels = frames.shape
    apart = frames.stride(0) // channels
    if lanes > 1 and length <= apart <= 2 * length and frames.stride() == (apart * channels, channels, 1):
        return frames, apart
    return frames.contiguous(), length


def _activated(
    y: Tensor,
    z: Tensor,
    scale: Tensor,
    known: Tensor,
    pools: int,
    signed: bool,
    next_block: tuple[int, int] | None,
) -> Tensor:
    """What batch norm and ReLU make of z, (clips, pools, channels), where the next block wants it."""
    clips, channels = len(y), y.shape[2]
    length, left = pools, 0
    if next_block is not None and next_block[0] > 1 and pools % next_block[0] == 0:
        m, left = next_block
        room = Windows.empty(clips, pools, channels, m, like=y)
        length, memory, result = pools + m, room.memory, room.inner(left, left + pools)
    else:
        result = memory = y.new_empty(clips, pools, channels)
    lanes = len(scale) // channels
    rows = clips // lanes * length
    kernels.activate[_tiles(rows, len(scale), ROWS)](
        *(z, scale, known, memory, rows, pools, length, left, channels, len(scale)),
        SEVERAL=lanes > 1,
        SIGNED=signed,
        GAPS=length > pools,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
    )
    return result


def _pooled(y: Tensor, work: Convolved, pool: int, norm: Norm) -> tuple[Tensor, Tensor]:
    """The largest z of each pool (y itself where nothing is pooled), and what kernels.normed tells of all z."""
    pools, columns = work.length // pool, len(norm.scale)
    lanes, _, channels = _lanes_of(y, norm.scale)
    rows = len(y) // lanes * pools
    z = y if pool == 1 else y.new_empty(lanes * rows, channels)
    known = norm.scale.new_empty(4, columns)
    steps, programs = _portions(rows, ROWS, MOST_PROGRAMS // lanes)
    parts = norm.scale.new_empty(2, programs, columns)
    kernels.pool[(programs, _columns(columns))](
        *(y, norm.scale, z, parts, rows, pools, y.shape[1], work.first, channels, columns),
        SEVERAL=lanes > 1,
        STEPS=steps,
        M=pool,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=2 if lanes > 1 else 4,
    )
    kernels.finish_statistics[_narrow(columns)](
        *(parts, norm.scale, norm.shift, norm.bias, known),
        *(norm.running_mean, norm.running_variance, norm.batches),
        *(rows, programs, steps * ROWS, columns, norm.epsilon, norm.momentum),
        M=pool,
        COLUMNS=NARROW,
        **_turns(programs),
    )
    return z, known


def _slopes(gradient: Tensor, length: int, z: Tensor, scale: Tensor, known: Tensor, pool: int) -> Tensor:
    """What gradient_kernels.finish_slopes finds. length: frames that the clips of the gradient are apart."""
    columns, (lanes, rows, channels) = len(scale), _lanes_of(gradient, scale)
    steps, programs = _portions(rows, ROWS, MOST_PROGRAMS // lanes)
    parts, found = scale.new_empty(2, programs, columns), scale.new_empty(4, columns)
    gradient_kernels.sums[(programs, _columns(columns))](
        *(gradient, z, scale, known, parts, rows, gradient.shape[1], length, channels, columns),
        SEVERAL=lanes > 1,
        STEPS=steps,
        SIGNED=pool == 1,
        GAPS=length > gradient.shape[1],
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=2,
    )
    gradient_kernels.finish_slopes[_narrow(columns)](
        parts, scale, known, found, rows * pool, programs, columns, COLUMNS=NARROW, **_turns(programs)
    )
    return found


class _Samples(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        wave, weight, scale, shift, bias, norm = given
        waves, filters = wave.squeeze(1).contiguous(), weight.flatten(1).contiguous()
        (clips, samples), (channels, length) = waves.shape, filters.shape
        frames = samples // length
        rows = clips * frames
        programs = -(-rows // 1024)
        parts = torch.empty(programs, length + length**2, dtype=torch.float64, device=wave.device)
        sample_kernels.moments[(programs,)](waves, parts, rows, frames, samples, LENGTH=length, ROWS=1024)
        together = parts.sum(0)
        known, spreads = scale.new_empty(4, channels), scale.new_empty(length, channels)
        sample_kernels.finish_moments[_narrow(channels)](
            *(together, filters, scale, shift, bias, known, spreads),
            *(norm.running_mean, norm.running_variance, norm.batches),
            *(rows, channels, norm.epsilon, norm.momentum),
            LENGTH=length,
            COLUMNS=NARROW,
        )
        result = torch.empty(clips, frames, channels, dtype=numbers_of(wave.device), device=wave.device)
        sample_kernels.filter_samples[_tiles(rows, channels, 64)](
            *(waves, filters, scale, known, result, rows, frames, samples, channels),
            LENGTH=length,
            ROWS=64,
            COLUMNS=COLUMNS,
            num_warps=8,
        )
        ctx.save_for_backward(waves, filters, scale, known, together, spreads)
        return result.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        waves, filters, scale, known, together, spreads = ctx.saved_tensors
        channels, length = filters.shape
        gradient = gradient.transpose(1, 2).contiguous()
        rows, frames = gradient.shape[0] * gradient.shape[1], gradient.shape[1]
        sums = 1 << length.bit_length()  # at least 1 + length
        height = max(LOW * 4 // sums, 1)  # as many numbers in registers for long filters as for short ones
        steps, programs = _portions(rows, height, 4 * MOST_PROGRAMS)
        parts = scale.new_empty(1 + length, programs, channels)
        sample_kernels.sample_gradients[(programs, _columns(channels))](
            *(gradient, waves, filters, scale, known, parts, rows, frames, waves.shape[1], channels),
            STEPS=steps,
            LENGTH=length,
            SUMS=sums,
            ROWS=height,
            COLUMNS=COLUMNS,
            num_warps=1,
        )
        summed = parts.sum(1, dtype=torch.float64)
        found, to_weight = scale.new_empty(2, channels), torch.empty_like(filters)
        sample_kernels.finish_sample_gradients[_narrow(channels)](
            *(summed, together, filters, scale, known, spreads, found, to_weight, rows, channels),
            LENGTH=length,
            COLUMNS=NARROW,
        )
        return None, to_weight.unsqueeze(1), found[1], found[0], torch.zeros_like(scale), None


def numbers_of(device: torch.device) -> torch.dtype:
    """In which numbers a block computes."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32


def _columns(channels: int) -> int:
    return -(-channels // COLUMNS)


def _tiles(rows: int, channels: int, height: int, width: int = COLUMNS) -> tuple[int, int]:
    """Programs for all of a matrix, each with so many rows and columns."""
    return -(-rows // height), -(-channels // width)


def _narrow(channels: int) -> tuple[int]:
    """Programs that put the parts of all channels together."""
    return (-(-channels // NARROW),)


def _portions(rows: int, height: int, most: int) -> tuple[int, int]:
    """Steps of `height` rows that a program takes, and how many programs that makes, at most so many."""
    # A power of two, since each number of steps is a program to compile.
    steps = 1 << max(-(-rows // (height * max(most, 1))) - 1, 0).bit_length()
    return steps, -(-rows // (height * steps))


def _turns(programs: int) -> dict[str, int]:
    """The parts of so many programs are put together some at once, in some turns."""
    parts = 16 if programs <= 16 else 256
    return {"PARTS": parts, "TURNS": -(-programs // parts)}
