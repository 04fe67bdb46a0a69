"""Serving: one split of a built data set as batches of segments, straight from the memory map."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import recipe as recipes
from datasets import store
from datasets.cards import Card, card
from datasets.errors import DatasetError, nearest
from datasets.home import folder_of

SCALE = np.float32(1 / 32768)


class Split:
    """The clips of one split, cut into segments of `segment_samples`.

    A clip's segments are the authors': fixed, non-overlapping, from sample 0, within the data set's
    `segmented_samples`; what is left over at its end is not served. A clip shorter than one segment is one
    segment, filled with zeros. Made by datasets.open; holds no more memory than its index.

    labels: (clips, tags) uint8, in the order of `tags`.
    """

    def __init__(self, about: Card, folder: Path, split: str, segment_samples: int, convention: str) -> None:
        self.card = about
        self.name, self.split, self.convention = about.name, split, convention
        self.segment_samples = segment_samples
        self.sample_rate_hz, self.tags, self.tag_hash = about.sample_rate_hz, about.tags, about.tag_hash
        columns, labels = store.read_index(folder / about.index.file, about.plan_id, about.index.bytes)
        kept = [row for row, name in enumerate(columns[f"split:{convention}"]) if name == split]
        self.clip_ids: list[str] = [columns["clip_id"][row] for row in kept]
        self.artists: list[str] = [columns["artist"][row] for row in kept]
        self.labels: np.ndarray = labels[kept]
        self._waves = _map_clips(
            about, folder, [(columns["shard"][row], columns["row"][row]) for row in kept]
        )
        lengths = np.array([len(wave) for wave in self._waves], np.int64)
        usable = lengths if about.segmented_samples is None else np.minimum(lengths, about.segmented_samples)
        self._lengths = lengths
        self._counts = np.maximum(usable // segment_samples, 1)
        self._clip_of = np.repeat(np.arange(len(kept)), self._counts)
        first = np.cumsum(self._counts) - self._counts
        self._start_of = (np.arange(len(self._clip_of)) - first[self._clip_of]) * segment_samples

    def __len__(self) -> int:
        """Number of segments."""
        return len(self._clip_of)

    @property
    def n_clips(self) -> int:
        """Number of clips."""
        return len(self.clip_ids)

    @cached_property
    def segments_per_clip(self) -> int:
        """Segments of most clips; 0 for a split without clips."""
        return int(np.bincount(self._counts).argmax()) if self.n_clips else 0

    def n_batches(self, batch_size: int, limit: int | None = None) -> int:
        """How many batches `batches` serves with the same words; refuses as it does."""
        total = self._segments_served(batch_size, limit)
        return max(1, total // batch_size)

    def batches(
        self, batch_size: int, seed: int, epoch: int, crops: bool = False, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: (wave (batch, segment_samples) in [-1, 1), tags (batch, n_tags)), both float32.

        The order depends on (seed, epoch) alone. Left-over segments that fill no batch are dropped, as the
        authors do; an epoch of less than one batch is one smaller batch.
        crops: start each segment at a random sample of its clip instead of its fixed place.
        limit: serve at most so many segments, the first of this epoch's order.
        raises: DatasetError, at the call, if a batch would have one segment: batch norm needs two.
        """
        total = self._segments_served(batch_size, limit)
        if seed < 0 or epoch < 0:
            raise DatasetError(f"seed={seed}, epoch={epoch}: both count from 0")
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(self))
        starts = self._random_starts(random) if crops else self._start_of
        size = min(batch_size, total)
        return self._serve(order[: total - total % size].reshape(-1, size), starts)

    def clips(self) -> Iterator[tuple[int, Tensor]]:
        """(clip index, wave (segments, segment_samples) float32) of each clip: all its fixed segments."""
        for clip, count in enumerate(self._counts):
            wave = np.empty((count, self.segment_samples), np.float32)
            for row in range(count):
                self._fill(wave[row], clip, row * self.segment_samples)
            yield clip, torch.from_numpy(wave)

    def _segments_served(self, batch_size: int, limit: int | None) -> int:
        if batch_size < 2:
            raise DatasetError(f"batch_size={batch_size}: batch norm needs 2 or more")
        if limit is not None and limit < 2:
            raise DatasetError(f"limit={limit}: batch norm needs 2 segments or more")
        total = len(self) if limit is None else min(len(self), limit)
        if total < 2:
            raise DatasetError(
                f"{self.name} has {total} segment(s) of {self.segment_samples} samples in {self.split} "
                f"({self.convention}); a batch needs 2: build it from more clips or take shorter segments"
            )
        return total

    def _random_starts(self, random: np.random.Generator) -> np.ndarray:
        room = np.maximum(self._lengths - self.segment_samples, 0)[self._clip_of]
        return random.integers(0, room, endpoint=True)

    def _serve(self, batches: np.ndarray, starts: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        for segments in batches:
            clips = self._clip_of[segments]
            wave = np.empty((len(segments), self.segment_samples), np.float32)
            for row, (clip, start) in enumerate(zip(clips.tolist(), starts[segments].tolist(), strict=True)):
                self._fill(wave[row], clip, start)
            yield torch.from_numpy(wave), torch.from_numpy(self.labels[clips].astype(np.float32))

    def _fill(self, row: np.ndarray, clip: int, start: int) -> None:
        """One row of a batch, scaled on the way: the only pass between the file's pages and the batch."""
        part = self._waves[clip][start : start + len(row)]
        np.multiply(part, SCALE, out=row[: len(part)])
        row[len(part) :] = 0


def open_split(name: str, split: str, segment_samples: int, convention: str | None) -> Split:
    """See datasets.open."""
    if segment_samples < 1:
        raise DatasetError(f"segment_samples={segment_samples}: a segment has at least 1 sample")
    _build_if_automatic(name)
    about = card(name)
    convention = about.default_convention if convention is None else convention
    if convention not in about.conventions:
        raise DatasetError(
            f"{name} has no split convention {convention!r}; {nearest(convention, about.conventions)}"
        )
    if split not in recipes.SPLITS:
        raise DatasetError(f"{name} has no split {split!r}; {nearest(split, recipes.SPLITS)}")
    return Split(about, folder_of(name), split, segment_samples, convention)


def _build_if_automatic(name: str) -> None:
    from datasets.build import build
    from datasets.cards import is_built

    if recipes.find(name).automatic and not is_built(name):
        # Several processes may open it at once, as the workers of a search do: one builds, the others wait
        # and then find every shard there.
        build(name, workers=1, wait=True)


def _map_clips(about: Card, folder: Path, places: list[tuple[int, int]]) -> list[np.ndarray]:
    """Each clip's samples as a view on its shard; only the shards needed are opened."""
    shards = {
        number: store.read_shard(
            folder / about.shards[number].file, about.plan_id, about.shards[number].bytes
        )
        for number in sorted({number for number, _ in places})
    }
    offsets = {number: shard.offsets.tolist() for number, shard in shards.items()}
    return [shards[n].values[offsets[n][row] : offsets[n][row + 1]] for n, row in places]
