"""Many files through one network, several at once, each in the memory of a batch.

On a processor a file keeps one core busy better than all cores share the layers of one: they are too small for many. On
a GPU the files are decoded at once, and heard in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.trained.tagger import Tagger, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Song", "tag_files"]

AHEAD = 16  # files for each worker, so that a long one does not keep the others waiting


@dataclass
class Song:
    """A file and what the network says of it.

    total:    (n_tags,), the sum of the segments' probabilities.
    error:    why it could not be tagged, in one line; None where it could.
    segments: how many were heard.
    timeline: (n_tags,) float32 of each segment, where it was asked for.
    """

    file: Path
    total: NDArray[np.float64]
    error: str | None = None
    segments: int = 0
    timeline: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(n_tags,), the mean of the segments', as clips are tagged in evaluation."""
        return self.total / self.segments


def tag_files(tagger: Tagger, files: Iterable[Path], timeline: bool = False) -> Iterator[Song]:
    """Tag audio files of any length and rate.

    As many at once as torch has threads, which they share meanwhile: with one thread, one after the other.

    timeline: keep the probabilities of each segment.
    yields:   each file as it is done, in the order given. One that cannot be tagged says why in `error`; it costs no
              other file anything.
    """
    files, threads = list(files), torch.get_num_threads()
    workers = min(threads, len(files))
    listener = _Listener(tagger, timeline)
    if workers < 2:
        yield from map(listener.tagged, files)
        return
    # Torch asks each thread anew; it has been asked here before, so that this one keeps what it has
    pool = ThreadPoolExecutor(workers, "tagging", torch.set_num_threads, (threads // workers,))
    begun: deque[Future[Song]] = deque()
    try:
        for file in files:
            begun.append(pool.submit(listener.tagged, file))
            while begun and (begun[0].done() or len(begun) > AHEAD * workers):
                yield begun[0].result()
                begun.popleft()
        while begun:
            yield begun[0].result()
            begun.popleft()
    finally:
        listener.left.set()
        pool.shutdown(wait=False)
        wait(begun)  # not for the threads, whose end a second Ctrl-C would take for reached
        pool.shutdown()
        torch.set_num_threads(threads)


class _Listener:
    """What all workers share. left: set when nobody waits for a song any more."""

    def __init__(self, tagger: Tagger, timeline: bool) -> None:
        self.tagger, self.timeline, self.left = tagger, timeline, Event()
        # A batch fills a GPU and its memory; two would only be in each other's way
        self.turn: AbstractContextManager[object] = nullcontext() if tagger.is_on_processor else Lock()

    def tagged(self, file: Path) -> Song:
        """A file, heard from its beginning to its end, or until it or the network fails."""
        song = Song(file, np.zeros(len(self.tagger.tags)))
        try:
            self._hear(song)
        except (ValueError, OSError) as error:  # of the decoder, and of the disk below it
            song.error = str(error).splitlines()[0]
        except (RuntimeError, MemoryError) as error:  # torch's for memory, of the device or the machine
            reason = (str(error).splitlines() or ["out of memory"])[0]
            song.error = f"{file} could not be tagged: {reason}"
        return song

    def _hear(self, song: Song) -> None:
        from datasets.audio import decode_blocks

        segments = cut(decode_blocks(song.file, self.tagger.sample_rate_hz), self.tagger.segment_samples)
        while not self.left.is_set() and (batch := list(islice(segments, self.tagger.segments_at_once))):
            said = self._said(np.stack(batch))
            song.total += said.sum(axis=0)
            song.segments += len(said)
            if self.timeline:
                song.timeline.extend(said.astype(np.float32))

    def _said(self, segments: NDArray[np.float32]) -> NDArray[np.float64]:
        """(segments, n_tags); where memory runs out, of half as many at once."""
        try:
            with self.turn:
                return self.tagger.probabilities(segments)
        except (RuntimeError, MemoryError):
            if len(segments) == 1:
                raise
            half = len(segments) // 2
        return np.concatenate([self._said(segments[:half]), self._said(segments[half:])])
