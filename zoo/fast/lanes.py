"""A layer's convolution for several networks on a GPU: a launch is a product of each of them. See convolving.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from zoo.fast import gradient_kernels, kernels
from zoo.fast.branches import side_by_side
from zoo.fast.windows import Windows

__all__ = ["Filters", "convolved_of_lanes", "form_of", "multiply_into"]

EVEN = 8  # numbers: cuBLAS takes several times as long where rows begin elsewhere than at whole 16 bytes
TILE = 128  # of a product's result, that a program of cuBLAS makes
MOST_TILES = 256  # at once: a Hopper GPU has 132 places for programs
FEWEST_ROWS = 256  # of a part of a sum
ROWS, COLUMNS = 16, 128  # of a program that lays a wave
SIDE = 64  # of the square that a program turns round


@dataclass(frozen=True)
class Filters:
    """Filters of a layer of several networks as its products take them, and where their gradients are left.

    values:   (lanes, length, channels in, channels out), in the numbers to compute in. Of filters that lie side by side
              (lanes, channels out, width), of which the first length * channels in are theirs, and others zero.
    gradient: float32, in the shape of the values.
    length:   frames of a filter.
    """

    values: Tensor
    gradient: Tensor
    length: int

    def turned(self) -> Tensor:
        """(lanes, length * channels out, channels in): what takes each frame's gradient from a window of outputs'."""
        lanes, length, channels, width = self.values.shape
        turned = self.values.new_empty(lanes, length * width, channels)
        programs = -(-channels // SIDE), -(-width // SIDE), lanes * length
        gradient_kernels.turn[programs](self.values, turned, channels, width, LENGTH=length, SIZE=SIDE)
        return turned


def form_of(shape: torch.Size, side_by_side: bool) -> tuple[tuple[int, ...], Callable[[Tensor], Tensor]]:
    """How weights (channels out, channels in, length) lie: the shape of a network's, and how to see all as weights."""
    width, channels, length = shape
    if not side_by_side:
        return (length, channels, width), lambda it: it.permute(0, 3, 2, 1)
    numbers = length * channels

    def seen(lying: Tensor) -> Tensor:
        return lying[:, :, :numbers].unflatten(2, (length, channels)).transpose(2, 3)

    return (width, -(-numbers // EVEN) * EVEN), seen


def convolved_of_lanes(
    frames: Tensor, filters: Filters, left: int
) -> _EverywhereOfLanes | _SideBySideOfLanes:
    """See convolving.convolved. frames: (clips of all lanes, channels in, frames)."""
    if left < 0:
        return _SideBySideOfLanes.of(frames, filters)
    given, m = frames.to(filters.values.dtype), filters.length
    windows = Windows.said_to_lie_in(given, m, left) or Windows.of(given, m, left)
    return _EverywhereOfLanes(windows, filters, left, frames.requires_grad)


@dataclass(frozen=True)
class _EverywhereOfLanes:
    """A filter of m frames at every frame. Outputs and their gradients have the m frames between clips, too.

    windows: the frames of all. left: zeros before the frames of each clip.
    back:    whether the gradient of the frames will be wanted.
    """

    windows: Windows
    filters: Filters
    left: int
    back: bool
    first: int = 0
    _turned: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.windows.frames

    def outputs(self) -> Tensor:
        of, filters = self.windows, self.filters.values
        y = filters.new_empty(of.clips, of.frames + of.m, filters.shape[3])
        tasks = self._products(of.at_all_places(), filters.flatten(1, 2), y)
        if self.back:
            tasks.append(lambda: self._turned.append(self.filters.turned()))
        side_by_side(y.device, tasks)
        return y

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return self.windows.room_between_zeros(outputs)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, None]:
        of, (lanes, _, channels, width) = self.windows, self.filters.values.shape
        # Each frame of a window over all frames at once, so that no rounded products are added up. The frames behind a
        # lane's last clip are left out: what is no number in the next lane would come in by them.
        frames = of.memory[: of.rows * of.width].view(lanes, -1, channels)
        back = to_outputs.view(lanes, -1, width)[:, : -of.m]
        tasks: list[Callable[[], None]] = [
            partial(multiply_into, self.filters.gradient[:, j], frames[:, j : j + back.shape[1]].mT, back)
            for j in range(of.m)
        ]
        if not wanted:
            side_by_side(back.device, tasks)
            return None, None
        start = int(to_outputs.storage_offset()) + (self.left - of.m + 1) * width
        to_frames = back.new_empty(of.clips, of.frames + of.m, channels)
        windows = of.windows_in(to_outputs, width, start)
        tasks += self._products(windows, self._turned[0], to_frames)
        side_by_side(back.device, tasks)
        return to_frames[:, : of.frames].transpose(1, 2), None

    def _products(self, windows: Tensor, filters: Tensor, frames: Tensor) -> list[Callable[[], None]]:
        """Of windows (m, rows, ...) at each place with the filters of their lane, into the frames of that place."""
        lanes = len(filters)
        return [
            partial(multiply_into, place.unflatten(0, (lanes, -1)), some.unflatten(0, (lanes, -1)), filters)
            for some, place in zip(windows, self.windows.places(frames), strict=True)
        ]


@dataclass(frozen=True)
class _SideBySideOfLanes:
    """Filters that lie side by side: a product of each lane.

    inputs: (lanes, rows, width), a row for each output.
    clips:  of all lanes. channels: of a frame of the input.
    kept:   frames of the input, of which the last may fill no filter.
    """

    inputs: Tensor
    filters: Filters
    clips: int
    channels: int
    kept: int
    first: int = 0

    @classmethod
    def of(cls, frames: Tensor, filters: Filters) -> _SideBySideOfLanes:
        lanes, (clips, channels, kept) = len(filters.values), frames.shape
        each = kept // filters.length
        inputs = _laid(frames, filters, each) if channels == 1 else _padded(frames, filters, each)
        return cls(inputs.view(lanes, clips // lanes * each, -1), filters, clips, channels, kept)

    @property
    def length(self) -> int:
        return self.kept // self.filters.length

    def outputs(self) -> Tensor:
        return (self.inputs @ self.filters.values.mT).view(self.clips, self.length, -1)

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return torch.empty_like(outputs)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, None]:
        lanes, rows, _ = self.inputs.shape
        back = to_outputs.view(lanes, rows, -1)
        tasks: list[Callable[[], None]] = [partial(self._to_filters, back)]
        if not wanted:
            return side_by_side(back.device, tasks)[0], None
        length = self.filters.length
        to_frames = back.new_empty(self.clips, self.length * length, self.channels)
        into = to_frames.view(lanes, rows, -1)
        tasks.append(partial(multiply_into, into, back, self.filters.values[:, :, : into.shape[2]]))
        side_by_side(back.device, tasks)
        unused = self.kept - to_frames.shape[1]
        to_frames = torch.nn.functional.pad(to_frames, (0, 0, 0, unused)) if unused else to_frames
        return to_frames.transpose(1, 2), None

    def _to_filters(self, back: Tensor) -> None:
        """By parts of the rows, as there is but one sum for each number of a small result."""
        room, (lanes, rows, width) = self.filters.gradient, self.inputs.shape
        tiles = lanes * -(-room.shape[1] // TILE) * -(-width // TILE)
        parts = _parts(rows, MOST_TILES // tiles)
        inputs, back = (it.view(lanes * parts, -1, it.shape[2]) for it in (self.inputs, back))
        sums = room if parts == 1 else room.new_empty(lanes * parts, *room.shape[1:])
        multiply_into(sums, back.mT, inputs)
        if parts > 1:
            torch.sum(sums.unflatten(0, (lanes, parts)), 1, out=room)


def _laid(wave: Tensor, filters: Filters, frames: int) -> Tensor:
    """So many frames of each wave (clips, 1, samples) as rows as wide as the filters."""
    wave, width = wave.contiguous(), filters.values.shape[2]
    rows = len(wave) * frames
    inputs = filters.values.new_empty(rows, width)
    kernels.lay[-(-rows // ROWS), -(-width // COLUMNS)](
        *(wave, inputs, rows, frames, wave.shape[2], filters.length, width), ROWS=ROWS, COLUMNS=COLUMNS
    )
    return inputs


def _padded(frames: Tensor, filters: Filters, count: int) -> Tensor:
    """The same of frames (clips, channels, frames) of which each filter takes so many."""
    used = frames[:, :, : count * filters.length].transpose(1, 2).to(filters.values.dtype)
    rows = used.reshape(len(frames) * count, -1)
    unused = filters.values.shape[2] - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, unused)) if unused else rows.contiguous()


def _parts(rows: int, most: int) -> int:
    """In how many equal parts, at most so many, none smaller than a sum is worth."""
    return max(
        parts
        for parts in range(1, max(most, 1) + 1)
        if rows % parts == 0 and (parts == 1 or rows >= parts * FEWEST_ROWS)
    )


def multiply_into(room: Tensor, left: Tensor, right: Tensor) -> None:
    """Products (lanes, ...), which may be wider numbers than what is multiplied: what a GPU adds up is float32."""
    if room.dtype == left.dtype:
        torch.bmm(left, right, out=room)
    elif room.device.type == "cuda":
        torch.ops.aten.bmm.dtype_out(left, right, room.dtype, out=room)
    else:
        room.copy_(torch.bmm(left, right))
