"""A block's convolution on a GPU, forwards and backwards, in the way that is quickest there.

Frames lie in time order with all channels beside each other: (batch, frames, channels). Those of several networks,
which have filters of their own, are for lanes.py.
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

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor | None]:
        """Of the frames (batch, channels in, frames), if wanted, and of the weight. to_outputs: as above, filled.

        None of the weight of several networks, whose gradient is left in its Filters.
        """
        ...


def convolved(frames: Tensor, weight: Tensor, left: int, kind: torch.dtype) -> Convolved:
    """frames: (batch, channels in, frames). weight: (channels out, channels in, length). kind: to compute in.

    left: zeros before the frames, of length - 1 in all, for a filter at every frame; below 0 filters lie side by side.
    """
    if left < 0:
        return _SideBySide.of(frames, weight, kind)
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
        torch.bmm(of.at_all_places(), self._of_each_place(self.filters), out=of.places(y))
        return y

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return self.windows.room_between_zeros(outputs)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        of, width = self.windows, self.filters.shape[1]
        of_places = of.places(to_outputs)
        to_filters = of.shifted(0, slice(0, of.rows)).t() @ of_places[0]
        for j in range(1, of.m):
            to_filters.addmm_(of.shifted(j, slice(0, of.rows)).t(), of_places[j])
        to_weight = to_filters.view(of.m, of.channels, width).permute(2, 1, 0)
        if not wanted:
            return None, to_weight
        # A frame has had its part in m outputs; turned round, the filters take it from a window of their gradients.
        back = self.filters.view(of.m, of.channels, width).flip(0).transpose(1, 2).reshape(-1, of.channels)
        start = int(to_outputs.storage_offset()) + (self.left - of.m + 1) * width
        windows = of.windows_in(to_outputs, width, start)
        to_frames = self.filters.new_empty(of.clips, of.frames + of.m, of.channels)
        torch.bmm(windows, self._of_each_place(back), out=of.places(to_frames))
        return to_frames[:, : of.frames].transpose(1, 2), to_weight

    def _of_each_place(self, filters: Tensor) -> Tensor:
        return filters.expand(self.windows.m, -1, -1)


@dataclass(frozen=True)
class _SideBySide:
    """Filters that lie side by side: one product of matrices.

    inputs: (rows, length * channels in), a row for each output. filters: (channels out, length * channels in).
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
        length = weight.shape[2]
        used = frames.shape[2] // length * length
        inputs = frames[:, :, :used].transpose(1, 2).to(kind).contiguous()
        rows = inputs.view(-1, length * frames.shape[1])
        filters = weight.transpose(1, 2).flatten(1).to(kind)
        return cls(rows, filters, len(frames), length, frames.shape[2])

    @property
    def length(self) -> int:
        return self.kept // self.filter_length

    def outputs(self) -> Tensor:
        return (self.inputs @ self.filters.t()).view(self.clips, self.length, -1)

    def room_for_gradients(self, outputs: Tensor) -> Tensor:
        return torch.empty_like(outputs)

    def gradients(self, to_outputs: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        back = to_outputs.flatten(0, 1)
        to_filters = back.t() @ self.inputs
        to_weight = to_filters.unflatten(1, (self.filter_length, -1)).transpose(1, 2)
        if not wanted:
            return None, to_weight
        to_frames = (back @ self.filters).view(self.clips, self.length * self.filter_length, -1)
        unused = self.kept - to_frames.shape[1]
        to_frames = torch.nn.functional.pad(to_frames, (0, 0, 0, unused)) if unused else to_frames
        return to_frames.transpose(1, 2), to_weight
