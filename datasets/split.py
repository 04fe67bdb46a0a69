"""Serving: one split of a built data set as batches of segments, straight from the memory map or a GPU's memory."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import store
from datasets.cards import Card
from datasets.errors import DatasetError, nearest
from datasets.home import folder_of
from datasets.index import find, read_index
from datasets.mapping import SAMPLE_BYTES
from datasets.music import Job, Music, Stored, as_waves
from datasets.prefetch import Prefetch

BUFFERS = 2  # one in use, one filled ahead; a third no longer fits the cache and costs a tenth
AUTO = "auto"
RESIDENT = (AUTO, "yes", "no")
RESIDENT_SHARE = 0.5  # of a GPU's free memory; the network's activations need the rest


class Split:
    """The clips of one split, cut into segments of `segment_samples`.

    A clip's segments are the authors': fixed, non-overlapping, from sample 0, within the data set's
    `segmented_samples`; what is left over at its end is not served. A clip shorter than one segment is one
    segment, filled with zeros. Made by datasets.open; holds no more memory than its index, and on a GPU the
    samples where `resident` says so.

    labels: (clips, tags) uint8, in the order of `tags`.
    subsets: masks (clips,) by name, of clips that nothing in training resembles; see datasets/subsets.py.
    device: where batches and clips are served.
    """

    def __init__(
        self,
        about: Card,
        folder: Path,
        split: str,
        segment_samples: int,
        convention: str,
        device: str | torch.device = "cpu",
        resident: str = AUTO,
    ) -> None:
        self.card, self.device = about, torch.device(device)
        self.name, self.split, self.convention = about.name, split, convention
        self.segment_samples = segment_samples
        self.sample_rate_hz, self.tags, self.tag_hash = about.sample_rate_hz, about.tags, about.tag_hash
        index = read_index(about, folder, split, convention)
        self.clip_ids, self.artists = index.clip_ids, index.artists
        self.labels, self.subsets = index.labels, index.subsets
        self.music: Music = _stored(about, folder, index.places, segment_samples)
        lengths = self.music.lengths
        usable = lengths if about.segmented_samples is None else np.minimum(lengths, about.segmented_samples)
        self._counts = np.maximum(usable // segment_samples, 1)
        self._clip_of = np.repeat(np.arange(self.n_clips), self._counts)
        first = np.cumsum(self._counts) - self._counts
        self._start_of = (np.arange(len(self._clip_of)) - first[self._clip_of]) * segment_samples
        if _is_resident(resident, self.music.n_bytes, self.device):
            self.music = self.music.moved(self.device)

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
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        crops: bool = False,
        limit: int | None = None,
        *,
        skip: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: (wave (batch, segment_samples) in [-1, 1), tags (batch, n_tags)), both float32.

        The order depends on (seed, epoch) alone. Left-over segments that fill no batch are dropped, as the
        authors do; an epoch of less than one batch is one smaller batch.
        crops: start each segment at a random sample of its clip instead of its fixed place.
        limit: serve at most so many segments, the first of this epoch's order.
        skip:  leave out the first batches of the epoch; the others are what they would have been.
        rank:  of `ranks` processes that share every batch, which one this is; batch_size counts for all of them.
        raises: DatasetError, at the call, if a batch would have one segment: batch norm needs two.
        """
        total = self._segments_served(batch_size, limit)
        if seed < 0 or epoch < 0 or skip < 0:
            raise DatasetError(f"seed={seed}, epoch={epoch}, skip={skip}: all count from 0")
        size = min(batch_size, total)
        if not 0 <= rank < ranks or size < 2 * ranks:
            raise DatasetError(
                f"rank={rank} of {ranks} can't share batches of {size}: ranks count from 0, and each needs 2 segments"
            )
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(self))
        starts = self._random_starts(random) if crops else self._start_of
        segments = order[: total - total % size].reshape(-1, size)[skip:]
        mine = np.array_split(segments, ranks, axis=1)[rank]
        return self._serve([(self._clip_of[rows], starts[rows]) for rows in mine])

    def clips(self, rank: int = 0, ranks: int = 1) -> Iterator[tuple[int, Tensor]]:
        """(clip index, wave (segments, segment_samples) float32) of each clip: all its fixed segments.

        rank: of `ranks` processes that share the clips, which one this is.
        """
        counts = self._counts.tolist()
        for clip in range(rank, len(counts), ranks):
            count = counts[clip]
            samples = self.music.whole(clip, count * self.segment_samples)
            yield clip, as_waves(samples.to(self.device)).reshape(count, self.segment_samples)

    def clips_together(
        self, most: int, rank: int = 0, ranks: int = 1
    ) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """All fixed segments of consecutive clips, at most so many together; a clip of more comes by itself.

        (clip indices, segments of each, wave (segments, segment_samples) float32). rank: see `clips`.
        """
        groups, held = list[list[int]](), most
        for clip in range(rank, self.n_clips, ranks):
            held += int(self._counts[clip])
            if held > most:
                groups.append([])
                held = int(self._counts[clip])
            groups[-1].append(clip)
        for group, wave in zip(groups, self._each([self._all_of(group) for group in groups]), strict=True):
            yield group, self._counts[group].tolist(), wave

    def _all_of(self, clips: Sequence[int]) -> Job:
        """Every fixed segment of some clips."""
        counts = self._counts[clips]
        starts = [np.arange(count) * self.segment_samples for count in counts.tolist()]
        return np.repeat(np.array(clips), counts), np.concatenate(starts)

    def _each(self, jobs: Sequence[Job]) -> Iterator[Tensor]:
        """The segments of each job, made when they are asked for."""
        if self.music.device.type == self.device.type:
            return self.music.each(jobs)
        return (as_waves(self._moved(job)) for job in jobs)

    def _moved(self, job: Job) -> Tensor:
        segments = self.music.new_buffer(len(job[0]))
        self.music.gather(*job, segments)
        return segments.to(self.device)

    def _serve(self, jobs: Sequence[Job]) -> Iterator[tuple[Tensor, Tensor]]:
        if not jobs:
            return
        labels = torch.from_numpy(self.labels.astype(np.float32)).to(self.device)
        # Of all batches at once: a GPU would wait for each little copy.
        clips = torch.from_numpy(np.stack([clips for clips, _ in jobs])).to(self.device)
        waves = self._prefetched(jobs) if self.music.waits(self.device) else self.music.each(jobs)
        for batch, wave in enumerate(waves):
            yield wave, labels.index_select(0, clips[batch])

    def _prefetched(self, jobs: Sequence[Job]) -> Iterator[Tensor]:
        """The segments of each job, gathered by a thread while those before are used."""
        return (as_waves(segments) for segments in self._gathered(jobs))

    def _gathered(self, jobs: Sequence[Job]) -> Iterator[Tensor]:
        """The same as int16 on the device; they are overwritten once the next but one are asked for."""
        music, rows = self.music, max((len(clips) for clips, _ in jobs), default=0)
        on_gpu = self.device.type == "cuda"
        buffers = [music.new_buffer(rows, pinned=on_gpu) for _ in range(BUFFERS)]
        for _, buffer in Prefetch(jobs, buffers, lambda job, out: music.gather(*job, out)):
            yield buffer.to(self.device, non_blocking=on_gpu)
            if on_gpu:  # the buffer is filled again once its copy has left
                torch.cuda.current_stream(self.device).synchronize()

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
        room = np.maximum(self.music.lengths - self.segment_samples, 0)[self._clip_of]
        return random.integers(0, room, endpoint=True)


def _is_resident(resident: str, n_bytes: int, device: torch.device) -> bool:
    """Whether the samples are to be put on the device. raises: DatasetError for another word."""
    if resident not in RESIDENT:
        raise DatasetError(f"resident={resident!r} is no choice; {nearest(str(resident), RESIDENT)}")
    if resident != AUTO:
        return resident == "yes"
    if device.type != "cuda":
        return False
    free, whole = torch.cuda.mem_get_info(device)
    number = torch.cuda.current_device() if device.index is None else device.index
    mine = whole * torch.cuda.get_per_process_memory_fraction(number)  # other processes may share the GPU
    return n_bytes <= min(free, mine) * RESIDENT_SHARE


def open_split(
    name: str,
    split: str,
    segment_samples: int,
    convention: str | None,
    device: str | torch.device = "cpu",
    resident: str = AUTO,
) -> Split:
    """See datasets.open."""
    if segment_samples < 1:
        raise DatasetError(f"segment_samples={segment_samples}: a segment has at least 1 sample")
    about, convention = find(name, split, convention)
    return Split(about, folder_of(name), split, segment_samples, convention, device, resident)


def _stored(about: Card, folder: Path, places: list[tuple[int, int]], segment_samples: int) -> Stored:
    """The clips at (shard, row); only the shards needed are opened."""
    used = sorted({number for number, _ in places})
    shards = [
        store.read_shard(folder / about.shards[number].file, about.plan_id, about.shards[number].bytes)
        for number in used
    ]
    position = {number: i for i, number in enumerate(used)}
    shard_of = np.array([position[number] for number, _ in places], np.int64)
    row_of = [row for _, row in places]
    offsets = [shard.offsets for shard in shards]
    ends = [(offsets[i][row], offsets[i][row + 1]) for i, row in zip(shard_of.tolist(), row_of, strict=True)]
    begin, end = np.array(ends, np.int64).reshape(-1, 2).T
    at_bytes = np.array([shard.begin_bytes for shard in shards], np.int64)[shard_of] + begin * SAMPLE_BYTES
    files = [folder / about.shards[number].file for number in used]
    return Stored(files, shard_of, at_bytes, end - begin, segment_samples)
