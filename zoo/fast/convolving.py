"""A block's convolution on a GPU, forwards and backwards, in the way that is quickest there.

Frames lie in time order with all channels beside each other: (batch, frames, channels). Of several networks, `lanes`,
the clips come one network's after another's, as many of each, and each has filters of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.fast.windows import Windows

__all__ = ["Convolved", "convolved"]

convolution = torch.ops.aten.convolution
convolution_backward = torch.ops.aten.convolution_backward


class Convolved(Protocol):
    """A convolution of some frames. length: frames that it gives; its outputs have them from frame `first` on."""

    @property
    def length(self) -> int: ...

    @property
    def first(self) -> int: ...

    def outputs(self) -> Tensor:
        """(batch, at least first + length frames, channels out); frames beside those wanted may hold anything."""
        ...

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        """New memory of the form of the outputs, zero beside the frames that are wanted."""
        ...

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        """Of the frames (batch, channels in, frames), if wanted, and of the weight. to_outputs: as above, filled."""
        ...


def convolved(frames: Tensor, weight: Tensor, left: int, kind: torch.dtype) -> Convolved:
    """frames: (batch, channels in, frames). weight: ([lanes,] channels out, channels in, length). kind: to compute in.

    left: zeros before the frames, of length - 1 in all, for a filter at every frame; below 0 filters lie side by side.
    """
    if left < 0:
        return _SideBySide.of(frames, weight, kind)
    if weight.ndim == 4:
        return _ProductsOfLanes.of(frames, weight, left, kind)
    if kind == torch.float32 and _to_the_last_digit():
        return _Products.of(frames, weight, left)
    return _Everywhere.of(frames, weight, left, kind)


def _to_the_last_digit() -> bool:
    backend: Any = torch.backends.cudnn
    return backend.conv.fp32_precision == "ieee"


@dataclass(frozen=True)
class _Everywhere:
    """A filter at every frame, by cuDNN. It pads both sides alike, so it gives one frame more where the pads differ.

    inputs: (batch, channels in, 1, frames). filters: (channels out, channels in, 1, length).
    """

    inputs: Tensor
    filters: Tensor
    padding: int
    first: int

    @classmethod
    def of(cls, frames: Tensor, weight: Tensor, left: int, kind: torch.dtype) -> _Everywhere:
        padding = max(left, weight.shape[2] - 1 - left)
        inputs = frames.transpose(1, 2).to(kind).contiguous().transpose(1, 2).unsqueeze(2)
        filters = weight.unsqueeze(2).to(kind, memory_format=torch.channels_last)
        return cls(inputs, filters, padding, padding - left)

    @property
    def length(self) -> int:
        return self.inputs.shape[3]

    @property
    def _how(self) -> tuple[Any, ...]:
        return [1, 1], [0, self.padding], [1, 1], False, [0, 0], 1

    def outputs(self) -> Tensor:
        y = convolution(self.inputs, self.filters, None, *self._how)
        return y.squeeze(2).transpose(1, 2).contiguous()

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        room = torch.empty_like(outputs)
        room[:, : self.first] = 0
        room[:, self.first + self.length :] = 0
        return room

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        back = to_outputs.transpose(1, 2).unsqueeze(2)
        to_inputs, to_filters, _ = convolution_backward(
            back, self.inputs, self.filters, None, *self._how, [wanted, True, False]
        )
        return to_inputs.squeeze(2) if wanted else None, to_filters.squeeze(2)


@dataclass(frozen=True)
class _Products:
    """A filter of m frames at every frame, as products of windows: cuDNN takes twice as long to the last digit.

    windows: the frames, of which there is a multiple of m. filters: (m * channels in, channels out).
    left:    zeros before the frames of each clip.
    Outputs and their gradients have the m frames of padding between clips, too.
    """

    windows: Windows
    filters: Tensor
    left: int
    first: int = 0

    @classmethod
    def of(cls, frames: Tensor, weight: Tensor, left: int) -> _Products:
        windows = Windows.of(frames.float(), weight.shape[2], left)
        return cls(windows, weight.permute(2, 1, 0).flatten(0, 1), left)

    @property
    def length(self) -> int:
        return self.windows.frames

    def outputs(self) -> Tensor:
        of, width = self.windows, self.filters.shape[1]
        y = self.filters.new_empty(of.clips, of.frames + of.m, width)
        torch.bmm(
            _all_windows(of.memory, of, of.channels), self._of_each_place(self.filters), out=_places(y, of)
        )
        return y

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return _room_between_zeros(outputs, self.windows)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        of, width = self.windows, self.filters.shape[1]
        of_places = _places(to_outputs, of)
        to_filters = of.shifted(0, slice(0, of.rows)).t() @ of_places[0]
        for j in range(1, of.m):
            to_filters.addmm_(of.shifted(j, slice(0, of.rows)).t(), of_places[j])
        to_weight = to_filters.view(of.m, of.channels, width).permute(2, 1, 0)
        if not wanted:
            return None, to_weight
        # A frame has had its part in m outputs; turned round, the filters take it from a window of their gradients.
        back = self.filters.view(of.m, of.channels, width).flip(0).transpose(1, 2).reshape(-1, of.channels)
        start = int(to_outputs.storage_offset()) + (self.left - of.m + 1) * width
        windows = _all_windows(to_outputs, of, width, start)
        to_frames = self.filters.new_empty(of.clips, of.frames + of.m, of.channels)
        torch.bmm(windows, self._of_each_place(back), out=_places(to_frames, of))
        return to_frames[:, : of.frames].transpose(1, 2), to_weight

    def _of_each_place(self, filters: Tensor) -> Tensor:
        return filters.expand(self.windows.m, -1, -1)


def _all_windows(memory: Tensor, of: Windows, channels: int, start: int = 0) -> Tensor:
    """(m, rows, m * channels): at each place of a pool, the windows that begin there."""
    shape = of.m, of.rows, of.m * channels
    return memory.as_strided(shape, (channels, of.m * channels, 1), start)


def _places(frames: Tensor, of: Windows) -> Tensor:
    """(clips, frames + m, channels) -> (m, rows, channels): at each place of a pool, the frames that are there."""
    channels = frames.shape[2]
    shape = of.m, of.rows, channels
    return frames.as_strided(shape, (channels, of.m * channels, 1), int(frames.storage_offset()))


@dataclass(frozen=True)
class _ProductsOfLanes:
    """The same for several networks, in any kind of numbers: a launch is a product of each of them.

    windows: the frames of all. filters: (lanes, m * channels in, channels out).
    """

    windows: Windows
    filters: Tensor
    left: int
    first: int = 0

    @classmethod
    def of(cls, frames: Tensor, weight: Tensor, left: int, kind: torch.dtype) -> _ProductsOfLanes:
        given, m = frames.to(kind), weight.shape[3]
        windows = Windows.said_to_lie_in(given, m, left) or Windows.of(given, m, left)
        filters = weight.permute(0, 3, 2, 1).to(kind, memory_format=torch.contiguous_format)
        return cls(windows, filters.flatten(1, 2), left)

    @property
    def length(self) -> int:
        return self.windows.frames

    def outputs(self) -> Tensor:
        of = self.windows
        y = self.filters.new_empty(of.clips, of.frames + of.m, self.filters.shape[2])
        self._multiplied(_all_windows(of.memory, of, of.channels), self.filters, y)
        return y

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return _room_between_zeros(outputs, self.windows)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        of, (lanes, _, width) = self.windows, self.filters.shape
        # Each frame of a window over all frames at once, so that no rounded products are added up. The frames behind a
        # lane's last clip are left out: what is no number in the next lane would come in by them.
        to_filters = torch.empty_like(self.filters).view(lanes, of.m, of.channels, width)
        frames = of.memory[: of.rows * of.width].view(lanes, -1, of.channels)
        back = to_outputs.view(lanes, -1, width)[:, : -of.m]
        for j in range(of.m):
            torch.bmm(frames[:, j : j + back.shape[1]].mT, back, out=to_filters[:, j])
        to_weight = to_filters.permute(0, 3, 2, 1)
        if not wanted:
            return None, to_weight
        turned = to_filters.new_empty(lanes, of.m * width, of.channels)
        filters = self.filters.view(lanes, of.m, of.channels, width)
        turned.view(lanes, of.m, width, of.channels).copy_(filters.flip(1).transpose(2, 3))
        start = int(to_outputs.storage_offset()) + (self.left - of.m + 1) * width
        to_frames = self.filters.new_empty(of.clips, of.frames + of.m, of.channels)
        self._multiplied(_all_windows(to_outputs, of, width, start), turned, to_frames)
        return to_frames[:, : of.frames].transpose(1, 2), to_weight

    def _multiplied(self, windows: Tensor, filters: Tensor, frames: Tensor) -> None:
        """The windows (m, rows, ...) at each place by the filters of their lane, into the frames of that place."""
        lanes = len(filters)
        for some, place in zip(windows, _places(frames, self.windows), strict=True):
            torch.bmm(some.unflatten(0, (lanes, -1)), filters, out=place.unflatten(0, (lanes, -1)))


def _room_between_zeros(outputs: Tensor, of: Windows) -> Tensor:
    """New memory for the gradients of outputs (clips, frames + m, channels), of which windows reach beyond the ends."""
    ahead = of.m * outputs.shape[2]
    memory = outputs.new_empty(outputs.numel() + 2 * ahead)
    memory[:ahead] = 0
    room = memory[ahead:-ahead].view(outputs.shape)
    room[:, of.frames :] = 0
    return room


@dataclass(frozen=True)
class _SideBySide:
    """Filters that lie side by side: one product of matrices, or one of each lane.

    inputs: ([lanes,] rows, length * channels in), a row for each output. filters: ([lanes,] channels out, length *
            channels in).
    clips:  of all lanes.
    kept:   frames of the input, of which the last may fill no filter.
    """

    inputs: Tensor
    filters: Tensor
    clips: int
    filter_length: int
    kept: int
    first: int = 0

    @classmethod
    def of(cls, frames: Tensor, weight: Tensor, kind: torch.dtype) -> _SideBySide:
        lanes, length = weight.shape[:-3], weight.shape[-1]
        used = frames.shape[2] // length * length
        inputs = frames[:, :, :used].transpose(1, 2).to(kind).contiguous()
        rows = inputs.view(*lanes, -1, length * frames.shape[1])
        filters = weight.transpose(-1, -2).flatten(-2).to(kind)
        return cls(rows, filters, len(frames), length, frames.shape[2])

    @property
    def length(self) -> int:
        return self.kept // self.filter_length

    def outputs(self) -> Tensor:
        return (self.inputs @ self.filters.mT).view(self.clips, self.length, -1)

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return torch.empty_like(outputs)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        back = to_outputs.view(*self.inputs.shape[:-1], -1)
        to_filters = back.mT @ self.inputs
        to_weight = to_filters.unflatten(-1, (self.filter_length, -1)).transpose(-1, -2)
        if not wanted:
            return None, to_weight
        to_frames = (back @ self.filters).view(self.clips, self.length * self.filter_length, -1)
        unused = self.kept - to_frames.shape[1]
        to_frames = torch.nn.functional.pad(to_frames, (0, 0, 0, unused)) if unused else to_frames
        return to_frames.transpose(1, 2), to_weight
