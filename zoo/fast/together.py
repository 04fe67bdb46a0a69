"""Which way a block of convolution, batch norm, ReLU and pooling is computed: decided here and nowhere else.

Its layers run one by one in evaluation, while a program is traced or transformed, and where someone looks at a layer
inside the block. Else, in training, they run as one step: on a processor if there are frames enough, and not under
autocast (of a first layer of long filters the convolution alone); on an NVIDIA GPU where Triton can compile what it
takes (WAVEZOO_KERNELS=no does without).
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

from zoo.fast.fused import pooled_block
from zoo.fast.strided import MOST_SAMPLES, strided_block, strided_convolution

__all__ = [
    "MOST_NUMBERS",
    "has_kernels_for",
    "is_ready",
    "is_transformed",
    "is_watched",
    "lies_side_by_side",
    "trained_together",
]

# Of a batch: where there are fewer, the many calls of a step take longer than the passes over memory that it saves.
FEWEST_FRAMES = 6000
MOST_NUMBERS = 2**31 - 1  # of a tensor on a GPU, whose kernels count in 32 bits


class Block(Protocol):
    """pad: zeros (left, right) before the convolution. pool: nn.MaxPool1d or nn.Identity.

    next_block: pool and zeros on the left of the block that most likely takes what this one gives.
    """

    conv: nn.Conv1d
    norm: nn.BatchNorm1d
    activation: nn.ReLU
    pool: Any
    pad: tuple[int, int]
    next_block: tuple[int, int]


def trained_together(block: Block, frames: Tensor) -> Tensor | None:
    """What the block gives in training, as one step; None where its layers have to run one by one.

    frames: (batch, channels, frames).
    The running statistics of the norm move on, as they do when it runs by itself.
    """
    if not is_ready(block) or not _suits(block, frames):
        return None
    return _on_gpu(block, frames) if _is_gpu(frames.device) else _on_processor(block, frames)


def _on_processor(block: Block, frames: Tensor) -> Tensor | None:
    conv, norm = block.conv, block.norm
    assert conv.bias is not None
    if frames.dtype != conv.weight.dtype or torch.is_autocast_enabled("cpu"):
        return None
    is_first = _gives_frames_side_by_side(block, frames) and _hears_the_wave(block, frames)
    if is_first and conv.kernel_size[0] > MOST_SAMPLES:
        return block.activation(norm(strided_convolution(frames, conv.weight, conv.bias)))
    if frames.shape[0] * frames.shape[2] // conv.stride[0] < FEWEST_FRAMES:
        return None
    weights = conv.weight, conv.bias, norm.weight, norm.bias
    if _pools_what_it_filters(block, frames):
        result, mean, variance = pooled_block(frames, *weights, block.pad[0], norm.eps, block.next_block)
    elif is_first and block.next_block[0] > 1:  # layers of torch would have to turn its frames round
        result, mean, variance = strided_block(frames, *weights, norm.eps, block.next_block)
    else:
        return None
    n = frames.shape[0] * ((frames.shape[2] + sum(block.pad) - conv.kernel_size[0]) // conv.stride[0] + 1)
    _move_statistics(norm, mean + conv.bias, variance * (n / (n - 1)))
    return result


def _on_gpu(block: Block, frames: Tensor) -> Tensor | None:
    conv = block.conv
    if not has_kernels_for(conv.weight):
        return None
    padded = frames.shape[2] + conv.kernel_size[0]
    if frames.shape[0] * padded * max(conv.in_channels, conv.out_channels) > MOST_NUMBERS:
        return None
    from zoo.fast import fused_gpu  # Triton is no part of every torch

    if _pools_what_it_filters(block, frames):
        pool = conv.kernel_size[0]
        return fused_gpu.filtered_block(frames, conv.weight, _norm(block), block.pad[0], pool)
    if not _gives_frames_side_by_side(block, frames):
        return None
    if _hears_the_wave(block, frames) and conv.kernel_size[0] <= fused_gpu.MOST_SAMPLES:
        return fused_gpu.sample_block(frames, conv.weight, _norm(block))
    return fused_gpu.filtered_block(frames, conv.weight, _norm(block), -1, 1)


def has_kernels_for(weight: Tensor) -> bool:
    """Whether blocks with such weights can be computed by the kernels, on the GPU on which these are."""
    return (
        weight.dtype == torch.float32
        and _is_gpu(weight.device)
        and _has_kernels()
        and _is_current(weight.device)
    )


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def _is_current(device: torch.device) -> bool:
    """Triton starts its kernels on the current GPU."""
    return device.type != "cuda" or device.index == torch.cuda.current_device()


@cache
def _has_kernels() -> bool:
    """Whether Triton is here, and what it needs: a GPU that it knows, a C compiler and Python's headers."""
    compilers = (os.environ.get("CC"), "gcc", "clang")
    return (
        os.environ.get("WAVEZOO_KERNELS", "yes") != "no"
        and find_spec("triton") is not None
        and any(shutil.which(name) for name in compilers if name)
        and Path(sysconfig.get_paths()["include"], "Python.h").is_file()
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability() >= (8, 0)
    )


def _norm(block: Any) -> Any:
    from zoo.fast.fused_gpu import Norm

    norm = block.norm
    kept = norm.running_mean, norm.running_var, norm.num_batches_tracked
    return Norm(norm.weight, norm.bias, block.conv.bias, *kept, norm.eps, norm.momentum)


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    """mean, variance: of a batch; the variance unbiased."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        assert running is not None
        running.lerp_(new, norm.momentum or 0.0)


def is_ready(block: Block) -> bool:
    """Whether it trains, and may do so as one step, whatever the frames are."""
    norm = block.norm
    return (
        type(norm)
        is nn.BatchNorm1d  # others have statistics of their own, such as those of several processes
        and norm.training
        and norm.momentum is not None
        and norm.running_mean is not None
        and block.conv.bias is not None
        and type(block.activation) is nn.ReLU
        and not is_transformed()
        and not is_watched(block.conv, block.norm, block.activation, block.pool)
    )


def _suits(block: Block, frames: Tensor) -> bool:
    weight = block.conv.weight
    return (
        type(frames) is Tensor  # not a tracer's or a transformation's stand-in
        and frames.device.type == weight.device.type
        and frames.device.type in ("cpu", "cuda")
        and frames.is_floating_point()
        and weight.dtype in (torch.float32, torch.float64)
        and frames.ndim == 3
    )


def is_transformed() -> bool:
    """A program is being traced or transformed, which has to see each layer."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def is_watched(*layers: nn.Module) -> bool:
    """Someone wants to see what one of these layers gives, or its gradient."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return _has_any_global_hook() or any(getattr(layer, kind) for layer in layers for kind in hooks)


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


def lies_side_by_side(block: Block) -> bool:
    """Filters none of which is over another's frames, and no pooling."""
    length = block.conv.kernel_size[0]
    return block.conv.stride == (length,) and block.pad == (0, 0) and isinstance(block.pool, nn.Identity)


def _gives_frames_side_by_side(block: Block, frames: Tensor) -> bool:
    """More than one, of which a batch norm can tell a variance."""
    return lies_side_by_side(block) and frames.shape[0] * (frames.shape[2] // block.conv.kernel_size[0]) > 1


def _hears_the_wave(block: Block, frames: Tensor) -> bool:
    """It is a first layer, of more than a sample, and nobody asks for the gradient of the wave."""
    return block.conv.in_channels == 1 and block.conv.kernel_size[0] > 1 and not frames.requires_grad
