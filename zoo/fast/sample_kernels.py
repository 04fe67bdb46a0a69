"""What a first layer of short filters does on a GPU, in Triton: statistics from its samples, and frames made as wanted.

As on a processor (strided.py), a frame is a product of a few samples with each filter, so the statistics of all
frames follow from the moments of the samples. For the form of it all see zoo/fast/kernels.py.
"""

import triton
import triton.language as tl

from zoo.fast.kernels import at_least_zero, normed

__all__ = ["filter_samples", "finish_moments", "finish_sample_gradients", "moments", "sample_gradients"]


@triton.jit(do_not_specialize=["rows", "frames", "samples"])
def moments(wave, parts, rows, frames, samples, LENGTH: tl.constexpr, ROWS: tl.constexpr):
    """Of a part of the frames: sums of each of their samples, and of the products of each two.

    wave: (clips, samples); a frame is LENGTH of them. parts: (programs, LENGTH + LENGTH^2) float64.
    """
    block = tl.program_id(0)
    row = block * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    at = (row // frames) * samples + (row % frames) * LENGTH
    to = parts + block * (LENGTH + LENGTH * LENGTH)
    for k in tl.static_range(LENGTH):
        one = tl.load(wave + at + k, mask=inside, other=0.0).to(tl.float64)
        tl.store(to + k, tl.sum(one, 0))
        for i in tl.static_range(LENGTH):
            other = tl.load(wave + at + i, mask=inside, other=0.0).to(tl.float64)
            tl.store(to + LENGTH + k * LENGTH + i, tl.sum(one * other, 0))


@triton.jit(do_not_specialize=["rows"])
def finish_moments(
    together,
    weight,
    scale,
    shift,
    bias,
    known,
    spreads,
    running_mean,
    running_variance,
    batches,
    rows,
    channels,
    epsilon,
    momentum,
    LENGTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Statistics of what the filters give of all frames, from the moments of their samples. See `normed`.

    together: (LENGTH + LENGTH^2,) float64, the sums of all parts. weight: (channels, LENGTH).
    spreads:  (LENGTH, channels): the covariance of each sample of a frame with what the filter gives.
    """
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    n = rows.to(tl.float64)
    mean = tl.zeros([COLUMNS], tl.float64)
    variance = tl.zeros([COLUMNS], tl.float64)
    sign = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -1.0, 1.0)
    for k in tl.static_range(LENGTH):
        middle = tl.load(together + k) / n
        own = tl.load(weight + column * LENGTH + k, mask=there, other=0.0).to(tl.float64)
        mean += own * middle
        along = tl.zeros([COLUMNS], tl.float64)
        for i in tl.static_range(LENGTH):
            covariance = tl.load(together + LENGTH + k * LENGTH + i) / n - middle * (
                tl.load(together + i) / n
            )
            along += tl.load(weight + column * LENGTH + i, mask=there, other=0.0).to(tl.float64) * covariance
        variance += own * along
        tl.store(spreads + k * channels + column, along.to(tl.float32), mask=there)
    normed(
        mean * sign,
        at_least_zero(variance),
        column,
        there,
        n,
        scale,
        shift,
        bias,
        known,
        running_mean,
        running_variance,
        batches,
        channels,
        epsilon,
        momentum,
    )


@triton.jit
def _filtered(
    wave, weight, scale, known, at, inside, column, there, channels, LENGTH: tl.constexpr, ROWS, COLUMNS
):
    """(ROWS, COLUMNS) before the ReLU."""
    gain = tl.load(known + 2 * channels + column, mask=there, other=0.0)
    gain = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -gain, gain)
    offset = tl.load(known + 3 * channels + column, mask=there, other=0.0)
    value = tl.zeros([ROWS, COLUMNS], tl.float32) + offset[None, :]
    for k in tl.static_range(LENGTH):
        sample = tl.load(wave + at + k, mask=inside, other=0.0)
        value += (
            sample[:, None] * (tl.load(weight + column * LENGTH + k, mask=there, other=0.0) * gain)[None, :]
        )
    return value


@triton.jit(do_not_specialize=["rows", "frames", "samples"])
def filter_samples(
    wave,
    weight,
    scale,
    known,
    result,
    rows,
    frames,
    samples,
    channels,
    LENGTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """What the filters give of every frame, normed, behind the ReLU. result: (rows = clips * frames, channels)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside, there = row < rows, column < channels
    at = (row // frames) * samples + (row % frames) * LENGTH
    value = _filtered(wave, weight, scale, known, at, inside, column, there, channels, LENGTH, ROWS, COLUMNS)
    to = row[:, None] * channels + column[None, :]
    tl.store(
        result + to,
        at_least_zero(value).to(result.dtype.element_ty),
        mask=inside[:, None] & there[None, :],
    )


@triton.jit(do_not_specialize=["rows", "frames", "samples"])
def sample_gradients(
    gradient,
    wave,
    weight,
    scale,
    known,
    parts,
    rows,
    frames,
    samples,
    channels,
    STEPS: tl.constexpr,
    LENGTH: tl.constexpr,
    SUMS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Of a part: sums of the gradient behind the ReLU, and of that times each sample of its frame.

    gradient: (rows, channels). parts: (1 + LENGTH, programs, channels). SUMS: a power of two, at least 1 + LENGTH.
    """
    block = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    which = tl.arange(0, SUMS)
    total = tl.zeros([SUMS, ROWS, COLUMNS], tl.float32)
    for step in range(STEPS):
        row = (block * STEPS + step) * ROWS + tl.arange(0, ROWS)
        inside = row < rows
        at = (row // frames) * samples + (row % frames) * LENGTH
        value = _filtered(
            wave, weight, scale, known, at, inside, column, there, channels, LENGTH, ROWS, COLUMNS
        )
        to = gradient + row[:, None] * channels + column[None, :]
        through = tl.load(to, mask=inside[:, None] & there[None, :], other=0.0).to(tl.float32)
        through = tl.where(value > 0, through, 0.0)
        is_sample = (which > 0) & (which <= LENGTH)
        sample = tl.load(
            wave + at[None, :] + (which - 1)[:, None], mask=is_sample[:, None] & inside[None, :], other=0.0
        )
        factor = tl.where((which == 0)[:, None], 1.0, sample)
        total += through[None, :, :] * factor[:, :, None]
    to = parts + (which[:, None] * tl.num_programs(0) + block) * channels + column[None, :]
    tl.store(to, tl.sum(total, 1), mask=(which <= LENGTH)[:, None] & there[None, :])


@triton.jit(do_not_specialize=["rows"])
def finish_sample_gradients(
    summed,
    together,
    weight,
    scale,
    known,
    spreads,
    found,
    to_weight,
    rows,
    channels,
    LENGTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of shift and scale, found (2, channels), and of the filters, to_weight (channels, LENGTH).

    summed: (1 + LENGTH, channels) float64, the sums of all parts.
    """
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    to_shift = tl.load(summed + column, mask=there, other=0.0)
    factor = tl.load(known + channels + column, mask=there, other=0.0).to(tl.float64)
    gain = tl.load(known + 2 * channels + column, mask=there, other=0.0).to(tl.float64)
    gain = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -gain, gain)
    to_scale = tl.zeros([COLUMNS], tl.float64)
    for k in tl.static_range(LENGTH):
        product = tl.load(summed + (k + 1) * channels + column, mask=there, other=0.0)
        product -= to_shift * (tl.load(together + k) / rows)
        to_scale += factor * product * tl.load(weight + column * LENGTH + k, mask=there, other=0.0)
    for k in tl.static_range(LENGTH):
        product = tl.load(summed + (k + 1) * channels + column, mask=there, other=0.0)
        product -= to_shift * (tl.load(together + k) / rows)
        along = tl.load(spreads + k * channels + column, mask=there, other=0.0)
        value = gain * (product - factor * to_scale * along)
        tl.store(to_weight + column * LENGTH + k, value.to(tl.float32), mask=there)
    tl.store(found + column, to_shift.to(tl.float32), mask=there)
    tl.store(found + channels + column, to_scale.to(tl.float32), mask=there)
