"""Frames of several clips in one run of memory, in which every window of m frames is a row of a matrix.

In time order, all channels of a frame beside each other, windows that begin every m frames are a matrix of
(windows, m * channels) without a copy, and so are those that begin a frame later. Between two clips lie m frames of
padding, so that there is one row a clip that belongs to no pool: the last of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from torch import Tensor

__all__ = ["Piece", "Windows", "pieces", "pieces_of_clips"]

# 1 MB of each operand: smaller ones cost the matrix products more than the cache gives
PIECE_FLOATS = 1 << 18


def pieces(rows: int, width: int) -> Iterator[slice]:
    """Consecutive rows of `width` floats, alike in number, that stay in the processor's cache."""
    most = _most(width)
    step = ceil(rows / ceil(rows / most)) if rows else 1
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def pieces_of_clips(frames: Tensor) -> Iterator[tuple[int, slice]]:
    """A clip and some of its rows, of (clips, rows, width); see `pieces`."""
    for clip in range(frames.shape[0]):
        for rows in pieces(*frames.shape[1:]):
            yield clip, rows


def _most(width: int) -> int:
    return max(64, PIECE_FLOATS // width)


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of `Windows`: pools of one clip, or all those of several, and the rows between these clips."""

    clips: slice
    pools: slice
    rows: slice

    def inner(self, rows: Tensor) -> Tensor:
        """What belongs to a pool of these rows, (rows, channels) -> (clips, pools, channels)."""
        return self._by_clips(rows)[:, : self.pools.stop - self.pools.start]

    def between(self, rows: Tensor) -> Tensor:
        """What belongs to none, (rows, channels) -> (clips, 0 or 1, channels)."""
        return self._by_clips(rows)[:, self.pools.stop - self.pools.start :]

    def _by_clips(self, rows: Tensor) -> Tensor:
        return rows.view(self.clips.stop - self.clips.start, -1, rows.shape[1])


@dataclass(frozen=True)
class Windows:
    """clips, frames, channels: of what it holds, frames a multiple of m. memory: one dimension, see `empty`."""

    clips: int
    frames: int
    channels: int
    m: int
    memory: Tensor

    @classmethod
    def empty(cls, clips: int, frames: int, channels: int, m: int, like: Tensor) -> Windows:
        """Room for the rows of all clips and one row more, of which the windows shifted by m - 1 frames read."""
        rows = clips * (frames // m + 1)
        return cls(clips, frames, channels, m, like.new_empty((rows + 1) * m * channels))

    @classmethod
    def of(cls, frames: Tensor, m: int, left: int) -> Windows:
        """A copy of (batch, channels, frames), each clip behind `left` frames of zeros and before m - left."""
        clips, channels, length = frames.shape
        made = cls.empty(clips, length, channels, m, frames)
        for zeros in made._around(left):
            zeros.zero_()
        made.inner(left, left + length).copy_(frames.transpose(1, 2))
        return made

    @classmethod
    def room(cls, shape: Sequence[int], next_block: tuple[int, int], like: Tensor) -> Tensor:
        """New memory for (clips, frames, channels), where `lying_in` finds them for a block of this m and `left`.

        Memory like any other if that block pools nothing, or its pools do not divide the frames.
        """
        (clips, frames, channels), (m, left) = shape, next_block
        if m == 1 or frames % m:
            return like.new_empty(shape)
        made = cls.empty(clips, frames, channels, m, like)
        for zeros in made._around(left):
            zeros.zero_()
        return made.inner(left, left + frames)

    @classmethod
    def lying_in(cls, frames: Tensor, m: int, left: int) -> Windows | None:
        """What `of` gives, without a copy: the memory of frames that were written into a `room`. None for others."""
        found = cls.said_to_lie_in(frames, m, left)
        return None if found is None or any(zeros.any() for zeros in found._around(left)) else found

    @classmethod
    def said_to_lie_in(cls, frames: Tensor, m: int, left: int) -> Windows | None:
        """The same for someone who knows that what lies so has zeros around it. A look would be waited for on a GPU."""
        clips, channels, length = frames.shape
        floats = (clips * (length // m + 1) + 1) * m * channels
        if (
            frames.stride() != ((length + m) * channels, 1, channels)
            or frames.storage_offset() != left * channels
            or frames.untyped_storage().nbytes() != floats * frames.element_size()
        ):
            return None
        # Not a view of `frames` itself, which would be kept as long as this memory
        memory = frames.detach().as_strided((floats,), (1,), 0)
        return cls(clips, length, channels, m, memory)

    def _around(self, left: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is not a clip's: before its frames, after them, and the row after the last."""
        after = left + self.frames
        beyond = self.memory[self.rows * self.width :]
        return self.inner(0, left), self.inner(after, self.frames + self.m), beyond

    @property
    def rows(self) -> int:
        """Windows of all clips, with the one of each clip that belongs to no pool."""
        return self.clips * (self.frames // self.m + 1)

    @property
    def width(self) -> int:
        """Floats of a window."""
        return self.m * self.channels

    def inner(self, start: int, stop: int) -> Tensor:
        """(clips, stop - start, channels): frames of each clip, the first of its zeros being number 0."""
        flat = self.memory[: self.rows * self.width]
        return flat.view(self.clips, self.frames + self.m, self.channels)[:, start:stop]

    def shifted(self, j: int, rows: slice) -> Tensor:
        """(rows, m * channels): the windows that begin j frames after the place of their row."""
        start = j * self.channels
        return self.memory[start + rows.start * self.width : start + rows.stop * self.width].view(
            -1, self.width
        )

    def pieces(self, width: int) -> Iterator[Piece]:
        """All rows; see `pieces`."""
        pools = self.frames // self.m
        together = min(self.clips, _most(width) // (pools + 1))
        for first in range(0, self.clips, max(1, together)):
            clips = slice(first, min(self.clips, first + max(1, together)))
            for some in [slice(0, pools)] if together else pieces(pools, width):
                start = first * (pools + 1) + some.start
                behind = some.stop == pools
                n = (clips.stop - clips.start) * (some.stop - some.start + behind)
                yield Piece(clips, some, slice(start, start + n))

    def planes(self, rows: slice) -> Tensor:
        """(m, rows + 1, channels), a copy: each of the m frames of these rows, and of the row after them."""
        return self._by_rows(rows.start, rows.stop + 1).transpose(0, 1).contiguous()

    def each(self, rows: slice) -> Tensor:
        """(m, rows, channels): each of the m frames of these rows."""
        return self._by_rows(rows.start, rows.stop).transpose(0, 1)

    def _by_rows(self, start: int, stop: int) -> Tensor:
        return self.memory[start * self.width : stop * self.width].view(-1, self.m, self.channels)

    def at_all_places(self) -> Tensor:
        """(m, rows, m * channels): at each place of a pool, the windows that begin there."""
        return self.windows_in(self.memory, self.channels)

    def windows_in(self, memory: Tensor, channels: int, start: int = 0) -> Tensor:
        """The same of other memory, from this number of its storage on, in which a frame has so many channels."""
        shape = self.m, self.rows, self.m * channels
        return memory.as_strided(shape, (channels, self.m * channels, 1), start)

    def places(self, frames: Tensor) -> Tensor:
        """(clips, frames + m, channels) -> (m, rows, channels): at each place of a pool, the frames that are there."""
        channels = frames.shape[2]
        shape = self.m, self.rows, channels
        return frames.as_strided(shape, (channels, self.m * channels, 1), int(frames.storage_offset()))

    def room_between_zeros(self, outputs: Tensor) -> Tensor:
        """New memory for gradients of outputs (clips, frames + m, channels), where windows reach beyond the ends."""
        ahead = self.m * outputs.shape[2]
        memory = outputs.new_empty(outputs.numel() + 2 * ahead)
        memory[:ahead] = 0
        room = memory[ahead:-ahead].view(outputs.shape)
        room[:, self.frames :] = 0
        return room
