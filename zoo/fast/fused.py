"""Convolution, batch norm, ReLU and pooling as one step of training on a processor: what `ConvBlock` computes, faster.

The same function as its layers one after the other and the same gradients, in another order of work.

- Under each of the m places of a pool, the convolution is one product of matrices (see zoo/fast/windows.py).
- The largest of m frames is taken before batch norm and ReLU, which then see one frame in m. They keep an order, or
  turn it round where the scale is negative; there the filter is taken with the other sign.
- Batch norm's statistics are those of all frames all the same.
- Which frame was the largest is not kept: it is the first that equals the maximum, as in torch's own pooling.
- A bias before batch norm moves nothing but the running mean. Its gradient is zero.
- All goes by pieces that stay in the cache, since a pass over memory takes longer than its arithmetic.
- The gradient of the frames is laid over the frames, unless someone else holds them or the graph is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.fast import winograd
from zoo.fast.products import Products, products
from zoo.fast.windows import Piece, Windows

__all__ = ["pooled_block"]

Result = tuple[Tensor, Tensor, Tensor]

threshold_backward = torch.ops.aten.threshold_backward  # (gradient, values, t) -> gradient where values > t


def pooled_block(
    frames: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    left: int,
    epsilon: float,
    next_block: tuple[int, int],
) -> Result:
    """Convolution of m frames, batch norm by the batch's own statistics, ReLU and pooling by m.

    frames:       (batch, channels in, frames), a multiple of m of them, after `left` zeros and before m - 1 - left.
    weight, bias: (channels out, channels in, m) and (channels out,), of the convolution.
    scale, shift: of the batch norm.
    next_block:   m and `left` of the one that takes the result, which then takes it without a copy.
    returns: (batch, channels out, frames / m), and what the batch norm saw: mean and biased variance per channel.
    """
    return _PooledBlock.apply(frames, weight, bias, scale, shift, left, epsilon, next_block)


class _PooledBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Result:
        frames, weight, bias, scale, shift, left, epsilon, next_block = given
        sign = torch.where(scale < 0, -1.0, 1.0).to(scale.dtype)
        filters = (weight * sign.view(-1, 1, 1)).permute(2, 1, 0).reshape(-1, len(sign))
        clips, _, length = frames.shape
        m = weight.shape[2]
        windows = Windows.lying_in(frames, m, left) or Windows.of(frames, m, left)
        ctx.fewer = winograd.is_wanted()
        outputs, largest, seen = _convolved(windows, products(windows, filters, ctx.fewer), filters)
        flat = scale == 0  # makes all frames of a pool equal; then the first one counts
        if flat.any():
            largest[:, flat] = outputs[0][:, flat]
        wide_mean, wide_variance = _statistics(outputs, seen, windows)
        mean, variance = wide_mean.to(scale.dtype), wide_variance.to(scale.dtype)
        factor = (wide_variance + epsilon).rsqrt().to(scale.dtype)
        gain = scale.abs() * factor
        offset = shift - mean * gain
        result = Windows.room((clips, length // m, len(sign)), next_block, like=largest)
        for piece in windows.pieces(len(sign)):
            pools = piece.inner(largest[piece.rows])
            torch.addcmul(offset, pools, gain, out=result[piece.clips, piece.pools]).relu_()
        # Whoever packs what is saved may hold it where torch can't count
        ctx.is_seen_by_torch = torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        ctx.save_for_backward(windows.memory, outputs, largest, filters, sign, mean, factor, gain, offset)
        ctx.shape, ctx.left, ctx.no_gradient = frames.shape, left, torch.zeros_like(bias)
        own_mean = mean * sign
        ctx.mark_non_differentiable(own_mean, variance)
        return result.transpose(1, 2), own_mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        memory, outputs, largest, filters, sign, mean, factor, gain, offset = ctx.saved_tensors
        clips, channels, length = ctx.shape
        m, _, width = outputs.shape
        windows = Windows(clips, length, channels, m, memory)
        to_shift, to_scale = torch.zeros_like(mean), torch.zeros_like(mean)
        for piece in windows.pieces(width):
            through = _through(gradient, largest, gain, offset, piece)
            to_shift += through.sum(0)
            to_scale += (largest[piece.rows] - mean).mul_(through).sum(0)
        to_scale *= factor
        # What reaches the convolution: gain * (through - to_shift / n - normalised output * to_scale / n).
        n = clips * length
        slope = -gain * factor * to_scale / n
        level = -gain * to_shift / n - mean * slope
        into = None
        if ctx.needs_input_grad[0]:
            used_up = ctx.is_seen_by_torch and _is_used_up(memory)
            into = windows if used_up else Windows.empty(clips, length, channels, m, memory)
        convolution = products(windows, filters, ctx.fewer)
        for piece in windows.pieces(width):
            through = _through(gradient, largest, gain, offset, piece).mul_(gain)
            given = outputs[:, piece.rows], largest[piece.rows]
            convolution.back(piece.rows, list(_to_outputs(through, *given, level, slope, piece)), into)
        to_filters = convolution.to_filters()
        to_weight = (to_filters * sign).reshape(m, channels, width).permute(2, 1, 0)
        to_frames = into.inner(ctx.left, ctx.left + length).transpose(1, 2) if into is not None else None
        return to_frames, to_weight, ctx.no_gradient, to_scale * sign, to_shift, None, None, None


def _is_used_up(memory: Tensor) -> bool:
    """Whether frames may be overwritten on the way back: no other tensor holds them, and nobody comes this way again.

    Not seen are those who hold them by the storage alone, or by this graph's own saved tensors.
    """
    holders = torch._C._storage_Use_Count(memory.untyped_storage()._cdata)
    ours = 2 + memory._is_view()  # what was saved, what asks here, and the tensor of which it is a view
    return holders <= ours and not torch._C._autograd._get_current_graph_task_keep_graph()


def _convolved(
    windows: Windows, convolution: Products, filters: Tensor
) -> tuple[Tensor, Tensor, list[tuple[int, Tensor, Tensor]]]:
    """Outputs (m, rows, channels), the largest of each m, and size, mean and variance of every piece."""
    m, width = windows.m, filters.shape[1]
    outputs = filters.new_empty(m, windows.rows, width)
    largest = filters.new_empty(windows.rows, width)
    seen = []
    for piece in windows.pieces(width):
        rows = piece.rows
        for j, output in enumerate(convolution.outputs(rows, outputs[:, rows])):
            seen.append((len(output), *torch.batch_norm_update_stats(output, None, None, 0.0)))
            if j:
                torch.maximum(outputs[0, rows] if j == 1 else largest[rows], output, out=largest[rows])
    return outputs, largest, seen


def _statistics(
    outputs: Tensor, seen: list[tuple[int, Tensor, Tensor]], windows: Windows
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the frames of the clips, in float64.

    The pieces are put together, and the rows between the clips taken out of them again.
    """
    m, rows, width = outputs.shape
    sizes = torch.tensor([size for size, _, _ in seen], dtype=torch.float64).unsqueeze(1)
    means = torch.stack([mean for _, mean, _ in seen]).double()
    variances = torch.stack([variance for _, _, variance in seen]).double()
    middle = (sizes * means).sum(0) / (m * rows)
    squares = (sizes * (variances + (means - middle).square())).sum(0)
    between = outputs.view(m, windows.clips, -1, width)[:, :, -1].double().flatten(0, 1) - middle
    n = windows.clips * windows.frames
    away = -between.sum(0) / n
    squares = squares - between.square().sum(0) - n * away.square()
    return middle + away, (squares / n).clamp_min(0)


def _through(gradient: Tensor, largest: Tensor, gain: Tensor, offset: Tensor, piece: Piece) -> Tensor:
    """The gradient before the ReLU of these rows, (rows, channels); made again wherever it is wanted.

    gradient: (batch, channels, pools), after it.
    """
    through = torch.addcmul(offset, largest[piece.rows], gain)
    inner = piece.inner(through)
    after = gradient.transpose(1, 2)[piece.clips, piece.pools]
    threshold_backward.grad_input(after, inner, 0, grad_input=inner)
    piece.between(through).zero_()
    return through


def _to_outputs(
    through: Tensor, outputs: Tensor, largest: Tensor, level: Tensor, slope: Tensor, piece: Piece
) -> Iterator[Tensor]:
    """The gradient of each of the m outputs of a piece, (rows, channels). What is in `through` is used up."""
    equal = -torch.finfo(outputs.dtype).tiny
    last = len(outputs) - 1
    for j, output in enumerate(outputs):
        to_output = torch.addcmul(level, output, slope)
        if j < last:
            chosen = threshold_backward(through, output - largest, equal)
            to_output += chosen
            through -= chosen
        else:
            to_output += through
        piece.between(to_output).zero_()
        yield to_output
