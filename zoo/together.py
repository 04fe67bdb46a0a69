"""Which way a block of convolution, batch norm, ReLU and pooling is computed: decided here and nowhere else.

Its layers run one by one in evaluation, under autocast, on other devices than the processor, while a program is traced
or transformed, and where someone looks at a layer inside the block. Else, in training, they run as one step, if there
are frames enough.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from zoo.fused import pooled_block
from zoo.strided import MOST_SAMPLES, strided_block

__all__ = ["trained_together"]

# Of a batch: where there are fewer, the many calls of a step take longer than the passes over memory that it saves.
FEWEST_FRAMES = 2048


class Block(Protocol):
    """pad: zeros (left, right) before the convolution. pool: nn.MaxPool1d or nn.Identity."""

    conv: nn.Conv1d
    norm: nn.BatchNorm1d
    activation: nn.ReLU
    pool: Any
    pad: tuple[int, int]


def trained_together(block: Block, frames: Tensor) -> Tensor | None:
    """What the block gives in training, as one step; None where its layers have to run one by one.

    frames: (batch, channels, frames).
    The running statistics of the norm move on, as they do when it runs by itself.
    """
    conv, norm = block.conv, block.norm
    if conv.bias is None or not _possible(block, frames):
        return None
    weights = conv.weight, conv.bias, norm.weight, norm.bias
    if _pools_what_it_filters(block, frames):
        result, mean, variance = pooled_block(frames, *weights, block.pad[0], norm.eps)
    elif _lies_side_by_side(block, frames):
        result, mean, variance = strided_block(frames, *weights, norm.eps)
    else:
        return None
    n = frames.shape[0] * ((frames.shape[2] + sum(block.pad) - conv.kernel_size[0]) // conv.stride[0] + 1)
    _move_statistics(norm, mean + conv.bias, variance * (n / (n - 1)))
    return result


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    """mean, variance: of a batch; the variance unbiased."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        assert running is not None
        running.lerp_(new, norm.momentum or 0.0)


def _possible(block: Block, frames: Tensor) -> bool:
    norm, weight = block.norm, block.conv.weight
    return (
        type(norm)
        is nn.BatchNorm1d  # others have statistics of their own, such as those of several processes
        and norm.training
        and norm.momentum is not None
        and norm.running_mean is not None
        and type(frames) is Tensor  # not a tracer's or a transformation's stand-in
        and frames.device.type == weight.device.type == "cpu"
        and frames.dtype == weight.dtype
        and frames.dtype in (torch.float32, torch.float64)
        and frames.ndim == 3
        and frames.shape[0] * frames.shape[2] // block.conv.stride[0] >= FEWEST_FRAMES
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not _watched(block)
    )


def _watched(block: Block) -> bool:
    """Someone wants to see what a layer inside gives, or its gradient."""
    inner = (block.conv, block.norm, block.activation, block.pool)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return _has_any_global_hook() or any(getattr(layer, kind) for layer in inner for kind in hooks)


def _pools_what_it_filters(block: Block, frames: Tensor) -> bool:
    """A filter of m frames at every frame, and pools of m that divide the frames."""
    m = block.conv.kernel_size[0]
    return (
        m > 1
        and block.conv.stride == (1,)
        and isinstance(block.pool, nn.MaxPool1d)
        and block.pool.kernel_size == m
        and sum(block.pad) == m - 1
        and frames.shape[2] > 0
        and frames.shape[2] % m == 0
    )


def _lies_side_by_side(block: Block, frames: Tensor) -> bool:
    """Short filters on the waveform, none over another's samples, and no pooling."""
    length = block.conv.kernel_size[0]
    return (
        1 < length <= MOST_SAMPLES
        and block.conv.stride == (length,)
        and block.conv.in_channels == 1
        and block.pad == (0, 0)
        and isinstance(block.pool, nn.Identity)
        and not frames.requires_grad
        and frames.shape[0] * (frames.shape[2] // length) > 1
    )
