"""A first layer of training on a processor: filters that lie side by side on the waveform, batch norm and ReLU.

A frame is a product of a few samples with each filter. So the statistics of all frames follow from the mean and the
covariance of the samples, and so do the gradients through them; and frames are made again where they are wanted
rather than kept. What is kept is the waveform.

Of long filters the convolution alone is another than torch's: the gradient of all filters is one product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv1d

from zoo.fast.matrices import product
from zoo.fast.windows import Windows, pieces_of_clips

__all__ = ["MOST_SAMPLES", "strided_block", "strided_convolution"]

MOST_SAMPLES = 32  # of a filter; the covariance of longer ones takes longer than the frames

Result = tuple[Tensor, Tensor, Tensor]


def strided_block(
    wave: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    epsilon: float,
    next_block: tuple[int, int],
) -> Result:
    """Convolution whose stride is its length, batch norm by the batch's own statistics, and ReLU.

    wave:    (batch, 1, samples); what does not fill a frame at its end is left out. It gets no gradient.
    weight, bias, scale, shift: (channels, 1, length) and (channels,) each, of the convolution and of the batch norm.
    next_block: pool of the block that takes the result, and its zeros on the left; it then takes it without a copy.
    returns: (batch, channels, frames), in memory frame by frame; mean and biased variance per channel.
    """
    return _StridedBlock.apply(wave, weight, bias, scale, shift, epsilon, next_block)


class _StridedBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Result:
        wave, weight, bias, scale, shift, epsilon, next_block = given
        filters = weight.flatten(1)
        samples = _side_by_side(wave, filters.shape[1])
        middle, covariance = _moments(samples)
        # In float64, since neighbouring samples are nearly equal and a filter may see only their difference.
        mean, spread = filters.double() @ middle, filters.double() @ covariance
        variance = (spread * filters).sum(1).clamp_min(0)
        factor = (variance + epsilon).rsqrt()
        gain = scale * factor
        scaled = (filters * gain.unsqueeze(1)).t().to(weight.dtype)
        offset = (shift - mean * gain).to(weight.dtype)
        result = Windows.room((*samples.shape[:2], len(filters)), next_block, like=scaled)
        for clip, rows in pieces_of_clips(result):
            torch.addmm(offset, samples[clip, rows], scaled, out=result[clip, rows]).relu_()
        ctx.save_for_backward(samples, filters, middle, spread, factor, gain, scaled, offset)
        ctx.no_gradient = torch.zeros_like(bias)
        own = mean.to(weight.dtype), variance.to(weight.dtype)
        ctx.mark_non_differentiable(*own)
        return result.transpose(1, 2), *own

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        samples, filters, middle, spread, factor, gain, scaled, offset = ctx.saved_tensors
        gradient = gradient.transpose(1, 2)
        to_shift = torch.zeros(len(filters), dtype=torch.float64)
        products = torch.zeros(filters.shape, dtype=torch.float64)
        for clip, rows in pieces_of_clips(gradient):
            made = torch.addmm(offset, samples[clip, rows], scaled)
            through = torch.ops.aten.threshold_backward(gradient[clip, rows], made, 0)
            to_shift += through.sum(0)
            products += through.t() @ samples[clip, rows]
        products -= to_shift.unsqueeze(1) * middle
        to_scale = factor * (products * filters).sum(1)
        to_filters = gain.unsqueeze(1) * (products - (factor * to_scale).unsqueeze(1) * spread)
        kind = filters.dtype
        to_weight = to_filters.to(kind).unsqueeze(1)
        return None, to_weight, ctx.no_gradient, to_scale.to(kind), to_shift.to(kind), None, None


def strided_convolution(wave: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution whose stride is its length: (batch, 1, samples) -> (batch, channels, frames).

    The wave gets no gradient, and the bias zeros: before a batch norm it moves nothing but the running mean.
    """
    return _StridedConvolution.apply(wave, weight, bias)


class _StridedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, wave: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        samples = _side_by_side(wave, weight.shape[2])
        clips, frames, length = samples.shape
        ctx.save_for_backward(samples)
        ctx.shape, ctx.no_gradient = weight.shape, torch.zeros_like(bias)
        if length <= 2 * frames:  # to turn the frames round takes longer than a product saves
            return conv1d(wave, weight, bias, stride=length)
        made = product(samples.flatten(0, 1), weight.flatten(1).t()).view(clips, frames, -1)
        return torch.add(
            made.transpose(1, 2), bias.unsqueeze(1), out=wave.new_empty(clips, len(bias), frames)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (samples,) = ctx.saved_tensors
        by_channels = gradient.transpose(0, 1).flatten(1)
        return None, product(by_channels, samples.flatten(0, 1)).view(ctx.shape), ctx.no_gradient


def _side_by_side(wave: Tensor, length: int) -> Tensor:
    """(batch, 1, samples) -> (batch, frames, length)."""
    clips, _, samples = wave.shape
    return wave[:, 0, : samples // length * length].reshape(clips, -1, length)


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the samples of a frame, in float64."""
    flat = samples.flatten(0, 1).double()
    middle = flat.mean(0)
    away = flat - middle
    return middle, away.t() @ away / len(away)
