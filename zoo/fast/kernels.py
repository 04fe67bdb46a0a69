"""What a block of training does on a GPU beside its matrix products, in Triton: few passes over memory, few launches.

This is the way forwards; the way back is gradient_kernels.py, and first layers of short filters sample_kernels.py.

Rows are frames in time order with all channels beside each other. z is an output of the convolution with the sign of
batch norm's scale, so that the largest z of a pool is the one that pooling after batch norm and ReLU would choose.
Sums over rows are taken in two steps: each program leaves a part, and a second kernel puts the parts together in
float64, in an order of its own, so that the same numbers come out each time. Places are counted in 32 bits, since
dividing wider numbers takes longer than all else here; see together.MOST_NUMBERS.

The rows may be those of several networks, lanes, one network's after another's. They then have columns beside each
other in everything that is told by channel, so that there are lanes * channels of them; each looks at its lane's rows.
How many lanes there are is no constant, as each would make programs of its own to compile.
"""

import triton
import triton.language as tl

__all__ = [
    "activate",
    "at_least_zero",
    "beside",
    "finish_statistics",
    "lay",
    "normed",
    "place",
    "pool",
]


@triton.jit
def beside(column, channels, apart, SEVERAL: tl.constexpr):
    """Where the channel of a column lies in the first row of its lane; lanes begin `apart` from each other."""
    if SEVERAL:
        return column // channels * apart + column % channels
    return column


@triton.jit
def place(row, pools, length, GAPS: tl.constexpr):
    """Where a row lies in memory in which the rows of a clip, `pools` of them, begin `length` rows apart."""
    if GAPS:
        return row // pools * length + row % pools
    return row


@triton.jit(do_not_specialize=["rows", "pools", "frames", "first"])
def pool(
    y,
    scale,
    largest,
    parts,
    rows,
    pools,
    frames,
    first,
    channels,
    columns,
    SEVERAL: tl.constexpr,
    STEPS: tl.constexpr,
    M: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The largest z of each pool of M frames, and mean and sum of squares of all z of a part.

    y: (clips, frames, channels) of each lane, of which the pools of a clip begin at frame `first`.
    largest: (rows = clips * pools, channels) of each; not written where M is 1, since it would be y.
    parts: (2, programs, columns), the programs being those of a lane.
    """
    block = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    of_y = beside(column, channels, (rows // pools) * frames * channels, SEVERAL)
    of_z = beside(column, channels, rows * channels, SEVERAL)
    scales = tl.load(scale + column, mask=there, other=1.0)
    sign = tl.where(scales < 0, -1.0, 1.0)[None, :]
    flat = (scales == 0)[None, :]  # makes all frames of a pool equal; then the first one counts
    start = block * STEPS * ROWS
    where = ((start // pools) * frames + first + (start % pools) * M) * channels
    # Squares are taken of distances from some z, as those of values far from zero would cancel each other.
    pivot = tl.load(y + where + of_y, mask=there, other=0.0).to(tl.float32)[None, :] * sign
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([ROWS, COLUMNS], tl.float32)
    for step in range(STEPS):
        row = start + step * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & there[None, :]
        at = (((row // pools) * frames + first + (row % pools) * M) * channels)[:, None] + of_y[None, :]
        best = tl.zeros([ROWS, COLUMNS], tl.float32)
        for j in tl.static_range(M):
            z = tl.load(y + at + j * channels, mask=inside, other=0.0).to(tl.float32) * sign
            away = tl.where(inside, z - pivot, 0.0)
            total += away
            squares += away * away
            best = z if j == 0 else tl.where((z > best) & (flat == 0), z, best)
        if M > 1:
            to = row[:, None] * channels + of_z[None, :]
            tl.store(largest + to, best.to(largest.dtype.element_ty), mask=inside)
    seen = M * (tl.minimum(rows - start, STEPS * ROWS)).to(tl.float32)
    moved = tl.sum(total, 0)
    programs = tl.num_programs(0)
    tl.store(parts + block * columns + column, tl.sum(pivot, 0) + moved / seen, mask=there)
    tl.store(
        parts + (programs + block) * columns + column, tl.sum(squares, 0) - moved * moved / seen, mask=there
    )


@triton.jit
def at_least_zero(value):
    """As ReLU: what is no number stays none, so that a training that diverges shows it."""
    return tl.where(value < 0.0, 0.0, value)


@triton.jit
def normed(
    mean,
    variance,
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
    columns,
    epsilon,
    momentum,
):
    """Move the running statistics by those of z, and write what else follows from them.

    known: (4, columns): mean, factor, gain, offset. Batch norm and ReLU make ReLU(gain * z + offset) of a frame.
    """
    scales = tl.load(scale + column, mask=there, other=1.0).to(tl.float64)
    sign = tl.where(scales < 0, -1.0, 1.0)
    factor = 1.0 / tl.sqrt(variance + epsilon)
    gain = tl.abs(scales) * factor
    offset = tl.load(shift + column, mask=there, other=0.0).to(tl.float64) - mean * gain
    tl.store(known + column, mean.to(tl.float32), mask=there)
    tl.store(known + columns + column, factor.to(tl.float32), mask=there)
    tl.store(known + 2 * columns + column, gain.to(tl.float32), mask=there)
    tl.store(known + 3 * columns + column, offset.to(tl.float32), mask=there)
    own = mean * sign + tl.load(bias + column, mask=there, other=0.0)
    before = tl.load(running_mean + column, mask=there, other=0.0).to(tl.float64)
    tl.store(running_mean + column, (before + momentum * (own - before)).to(tl.float32), mask=there)
    before = tl.load(running_variance + column, mask=there, other=0.0).to(tl.float64)
    unbiased = variance * (n / (n - 1.0))
    tl.store(running_variance + column, (before + momentum * (unbiased - before)).to(tl.float32), mask=there)
    if tl.program_id(0) == 0:
        tl.store(batches, tl.load(batches) + 1)


@triton.jit(do_not_specialize=["rows", "programs", "size"])
def finish_statistics(
    parts,
    scale,
    shift,
    bias,
    known,
    running_mean,
    running_variance,
    batches,
    rows,
    programs,
    size,
    columns,
    epsilon,
    momentum,
    M: tl.constexpr,
    TURNS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Statistics of all z from those of the parts, each of `size` rows but the last. See `normed`."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    n = (rows * M).to(tl.float64)
    total = tl.zeros([COLUMNS], tl.float64)
    # Of values, not of distances: float64 has digits enough for both
    squares = tl.zeros([COLUMNS], tl.float64)
    for turn in range(TURNS):
        part = turn * PARTS + tl.arange(0, PARTS)
        inside = (part < programs)[:, None] & there[None, :]
        seen = (M * tl.maximum(tl.minimum(rows - part * size, size), 0)).to(tl.float64)[:, None]
        at = part[:, None] * columns + column[None, :]
        middle = tl.load(parts + at, mask=inside, other=0.0).to(tl.float64)
        within = tl.load(parts + programs * columns + at, mask=inside, other=0.0).to(tl.float64)
        total += tl.sum(seen * middle, 0)
        squares += tl.sum(within + seen * middle * middle, 0)
    mean = total / n
    normed(
        mean,
        at_least_zero(squares / n - mean * mean),
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
        columns,
        epsilon,
        momentum,
    )


@triton.jit(do_not_specialize=["rows", "pools", "length", "left"])
def activate(
    z,
    scale,
    known,
    result,
    rows,
    pools,
    length,
    left,
    channels,
    columns,
    SEVERAL: tl.constexpr,
    SIGNED: tl.constexpr,
    GAPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """result = ReLU(gain * z + offset). SIGNED: z is y, without its sign yet.

    z: (clips * pools, channels) of each lane. result: (rows = clips * length, channels) of each, the pools of a clip
    behind `left` rows of zeros and before as many as are left; or the form of z, if there are no GAPS.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < columns
    inside = (row < rows)[:, None] & there[None, :]
    to = row[:, None] * channels + beside(column, channels, rows * channels, SEVERAL)[None, :]
    at, real = to, inside
    if GAPS:
        frame = row % length - left
        real = inside & ((frame >= 0) & (frame < pools))[:, None]
        of_z = beside(column, channels, rows // length * pools * channels, SEVERAL)
        at = (row // length * pools + frame)[:, None] * channels + of_z[None, :]
    gain = tl.load(known + 2 * columns + column, mask=there, other=0.0)
    offset = tl.load(known + 3 * columns + column, mask=there, other=0.0)
    if SIGNED:
        gain = tl.where(tl.load(scale + column, mask=there, other=1.0) < 0, -gain, gain)
    value = tl.load(z + at, mask=real, other=0.0).to(tl.float32) * gain[None, :] + offset[None, :]
    value = at_least_zero(value)
    if GAPS:
        value = tl.where(real, value, 0.0)
    tl.store(result + to, value.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "frames", "samples"])
def lay(wave, result, rows, frames, samples, length, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The samples of each frame as a row of a matrix, in the numbers of the result, with zeros behind them.

    wave: (clips, samples), of which `frames` frames of `length` samples are taken. result: (rows, width).
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at = (row // frames * samples + row % frames * length)[:, None] + column[None, :]
    real = (row < rows)[:, None] & (column < length)[None, :]
    value = tl.load(wave + at, mask=real, other=0.0)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    tl.store(result + row[:, None] * width + column[None, :], value.to(result.dtype.element_ty), mask=inside)
