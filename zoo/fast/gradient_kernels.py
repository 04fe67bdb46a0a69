"""The way back of kernels.py: what reaches the outputs of a convolution through pooling, ReLU and batch norm."""

import triton
import triton.language as tl

from zoo.fast.kernels import beside, place

__all__ = ["finish_slopes", "spread", "sums", "turn"]


@triton.jit(do_not_specialize=["rows", "pools", "length"])
def sums(
    gradient,
    z,
    scale,
    known,
    parts,
    rows,
    pools,
    length,
    channels,
    columns,
    SEVERAL: tl.constexpr,
    STEPS: tl.constexpr,
    SIGNED: tl.constexpr,
    GAPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Of a part: sums of the gradient behind the ReLU, and of that times the distance of z from its mean.

    gradient, z: (rows, channels) of each lane, of the gradient see `place`.
    parts: (2, programs, columns), the programs being those of a lane.
    """
    block = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    of_z = beside(column, channels, rows * channels, SEVERAL)
    of_gradient = beside(column, channels, place(rows, pools, length, GAPS) * channels, SEVERAL)
    mean = tl.load(known + column, mask=there, other=0.0)[None, :]
    gain = tl.load(known + 2 * columns + column, mask=there, other=0.0)[None, :]
    offset = tl.load(known + 3 * columns + column, mask=there, other=0.0)[None, :]
    sign = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -1.0, 1.0)[None, :]
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    for step in range(STEPS):
        row = (block * STEPS + step) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & there[None, :]
        at = row[:, None] * channels + of_z[None, :]
        value = tl.load(z + at, mask=inside, other=0.0).to(tl.float32)
        if SIGNED:
            value *= sign
        into = place(row, pools, length, GAPS)[:, None] * channels + of_gradient[None, :]
        through = tl.load(gradient + into, mask=inside, other=0.0).to(tl.float32)
        through = tl.where(value * gain + offset > 0, through, 0.0)
        total += through
        products += through * (value - mean)
    programs = tl.num_programs(0)
    tl.store(parts + block * columns + column, tl.sum(total, 0), mask=there)
    tl.store(parts + (programs + block) * columns + column, tl.sum(products, 0), mask=there)


@triton.jit(do_not_specialize=["n", "programs"])
def finish_slopes(
    parts,
    scale,
    known,
    found,
    n,
    programs,
    columns,
    TURNS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of batch norm's shift and scale, and the line that reaches every z through its statistics.

    found: (4, columns): to shift, to scale, level, slope. n: frames that the statistics are of.
    """
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    to_shift = tl.zeros([COLUMNS], tl.float64)
    products = tl.zeros([COLUMNS], tl.float64)
    for turn in range(TURNS):
        part = turn * PARTS + tl.arange(0, PARTS)
        inside = (part < programs)[:, None] & there[None, :]
        at = part[:, None] * columns + column[None, :]
        to_shift += tl.sum(tl.load(parts + at, mask=inside, other=0.0).to(tl.float64), 0)
        products += tl.sum(tl.load(parts + programs * columns + at, mask=inside, other=0.0).to(tl.float64), 0)
    mean = tl.load(known + column, mask=there, other=0.0).to(tl.float64)
    factor = tl.load(known + columns + column, mask=there, other=0.0).to(tl.float64)
    gain = tl.load(known + 2 * columns + column, mask=there, other=0.0).to(tl.float64)
    sign = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -1.0, 1.0)
    to_scale = products * factor
    slope = -gain * factor * to_scale / n
    level = -gain * to_shift / n - mean * slope
    tl.store(found + column, to_shift.to(tl.float32), mask=there)
    tl.store(found + columns + column, (to_scale * sign).to(tl.float32), mask=there)
    tl.store(found + 2 * columns + column, level.to(tl.float32), mask=there)
    tl.store(found + 3 * columns + column, slope.to(tl.float32), mask=there)


@triton.jit(do_not_specialize=["rows", "pools", "length", "frames", "first"])
def spread(
    gradient,
    y,
    scale,
    known,
    found,
    result,
    rows,
    pools,
    length,
    frames,
    first,
    channels,
    columns,
    SEVERAL: tl.constexpr,
    M: tl.constexpr,
    GAPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradient of the convolution's outputs: of the first largest of each pool, and through the statistics of all.

    gradient: (rows, channels) of each lane, see `place`.
    y, result: (clips, frames, channels) of each, of which the pools of a clip begin at frame `first`.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    of_y = beside(column, channels, (rows // pools) * frames * channels, SEVERAL)
    of_gradient = beside(column, channels, place(rows, pools, length, GAPS) * channels, SEVERAL)
    inside = (row < rows)[:, None] & there[None, :]
    scales = tl.load(scale + column, mask=there, other=1.0)
    sign = tl.where(scales < 0, -1.0, 1.0)[None, :]
    flat = (scales == 0)[None, :]
    gain = tl.load(known + 2 * columns + column, mask=there, other=0.0)[None, :]
    offset = tl.load(known + 3 * columns + column, mask=there, other=0.0)[None, :]
    level = tl.load(found + 2 * columns + column, mask=there, other=0.0)[None, :]
    slope = tl.load(found + 3 * columns + column, mask=there, other=0.0)[None, :]
    at = (((row // pools) * frames + first + (row % pools) * M) * channels)[:, None] + of_y[None, :]
    best = tl.load(y + at, mask=inside, other=0.0).to(tl.float32) * sign
    chosen = tl.zeros([ROWS, COLUMNS], tl.int32)
    for j in tl.static_range(1, M):
        z = tl.load(y + at + j * channels, mask=inside, other=0.0).to(tl.float32) * sign
        more = (z > best) & (flat == 0)
        chosen = tl.where(more, j, chosen)
        best = tl.where(more, z, best)
    into = place(row, pools, length, GAPS)[:, None] * channels + of_gradient[None, :]
    through = tl.load(gradient + into, mask=inside, other=0.0)
    through = tl.where(best * gain + offset > 0, through.to(tl.float32) * gain, 0.0)
    for j in tl.static_range(M):
        z = tl.load(y + at + j * channels, mask=inside, other=0.0).to(tl.float32) * sign
        value = (level + z * slope + tl.where(chosen == j, through, 0.0)) * sign
        tl.store(result + at + j * channels, value.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["channels", "width"])
def turn(filters, result, channels, width, LENGTH: tl.constexpr, SIZE: tl.constexpr):
    """Each frame of a filter turned round, (channels, width) -> (width, channels), the last frame first.

    filters, result: LENGTH such matrices of each lane, one after the other.
    """
    matrix = tl.program_id(2)
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    column = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = (row < channels)[:, None] & (column < width)[None, :]
    at = matrix * channels * width + row[:, None] * width + column[None, :]
    value = tl.load(filters + at, mask=inside)
    last = matrix // LENGTH * LENGTH + LENGTH - 1 - matrix % LENGTH
    to = last * channels * width + column[:, None] * channels + row[None, :]
    tl.store(result + to, tl.trans(value), mask=tl.trans(inside))
