"""Many files through one network, segments of several files together in a batch, in the memory of a few batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.trained.tagger import Tagger, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Song", "tag_files"]


@dataclass
class Song:
    """A file and what the network says of it.

    error:    why it could not be tagged, in one line; None where it could.
    segments: how many were heard.
    total:    (n_tags,), the sum of their probabilities.
    timeline: (n_tags,) float32 of each segment, where it was asked for.
    """

    file: Path
    total: NDArray[np.float64]
    error: str | None = None
    segments: int = 0
    timeline: list[NDArray[np.float32]] = field(default_factory=list)
    cut_up: bool = False  # all its segments have been taken from the file
    waiting: int = 0  # of its segments, in the batch that is being filled

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(n_tags,), the mean of the segments', as clips are tagged in evaluation."""
        return self.total / self.segments

    @property
    def ready(self) -> bool:
        """Whether nothing more is to be heard of it."""
        return self.cut_up and not self.waiting


def tag_files(tagger: Tagger, files: Iterable[Path], timeline: bool = False) -> Iterator[Song]:
    """Tag audio files of any length and rate.

    timeline: keep the probabilities of each segment.
    yields:   each file as it is done, in the order given. One that cannot be tagged says why in `error`; it costs no
              other file anything.
    """
    batch: list[tuple[Song, NDArray[np.float32]]] = []
    begun: deque[Song] = deque()
    for file in files:
        song = Song(file, np.zeros(len(tagger.tags)))
        begun.append(song)
        for segment in _segments(tagger, song):
            batch.append((song, segment))
            song.waiting += 1
            if len(batch) == tagger.segments_at_once:
                _hear(tagger, batch, timeline)
                batch = []
        song.cut_up = True
        while begun and begun[0].ready:
            yield begun.popleft()
    _hear(tagger, batch, timeline)
    yield from begun


def _segments(tagger: Tagger, song: Song) -> Iterator[NDArray[np.float32]]:
    """The segments of a file, until it or the network fails."""
    from datasets.audio import decode_blocks

    try:
        for segment in cut(decode_blocks(song.file, tagger.sample_rate_hz), tagger.segment_samples):
            if song.error:
                return
            yield segment
    except (ValueError, OSError) as error:  # of the decoder, and of the disk below it
        song.error = str(error).splitlines()[0]
    except MemoryError:
        song.error = f"{song.file} could not be tagged: out of memory"


def _hear(tagger: Tagger, batch: list[tuple[Song, NDArray[np.float32]]], timeline: bool) -> None:
    """Add what the network says of each segment to its song; where memory runs out, of half as many at once."""
    if not batch:
        return
    try:
        said = tagger.probabilities(np.stack([segment for _, segment in batch]))
    except (RuntimeError, MemoryError) as error:  # torch's for memory, of the device or the machine
        if len(batch) > 1:
            _hear(tagger, batch[: len(batch) // 2], timeline)
            _hear(tagger, batch[len(batch) // 2 :], timeline)
            return
        song = batch[0][0]
        reason = (str(error).splitlines() or ["out of memory"])[0]
        song.error, song.waiting = f"{song.file} could not be tagged: {reason}", song.waiting - 1
        return
    for (song, _), probabilities in zip(batch, said, strict=True):
        song.total += probabilities
        song.segments += 1
        song.waiting -= 1
        if timeline:
            song.timeline.append(probabilities.astype(np.float32))
