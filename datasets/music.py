"""The samples of a split's clips, and segments gathered from them: from the store, or from a device's own memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.cold import read_segments
from datasets.mapping import SAMPLE_BYTES, SampleMap

__all__ = ["Job", "Music", "Stored", "as_waves"]

Job = tuple[np.ndarray, np.ndarray]  # of a batch: clips, and where in each the segment starts

SCALE = 1 / 32768

# Below this share of pages in memory, reading segments at their places beats waiting for page faults.
WARM_SHARE = 0.9
PROBES = 512  # pages looked at before each epoch, which takes a millisecond


class Music:
    """Clips one after the other in one array of int16, of which a batch is one gather.

    samples: (samples,) int16, with `segment_samples` more behind the last clip; on any device.
    begins:  (clips,) where each clip begins. lengths: (clips,) samples of each.
    """

    def __init__(
        self, samples: Tensor, begins: np.ndarray, lengths: np.ndarray, segment_samples: int
    ) -> None:
        self.begins, self.lengths, self.segment_samples = begins, lengths, segment_samples
        # Row i holds the segment that begins at sample i: a view, not a copy.
        self._segments = samples.as_strided((len(samples) - segment_samples + 1, segment_samples), (1, 1))
        self.samples = samples

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self.samples.device

    def new_buffer(self, rows: int, pinned: bool = False) -> Tensor:
        """Room for so many segments; pinned memory goes to a GPU without the processor's help."""
        return torch.empty(
            rows, self.segment_samples, dtype=torch.int16, device=self.device, pin_memory=pinned
        )

    def gather(self, clips: np.ndarray, starts: np.ndarray, out: Tensor) -> None:
        """Fill the rows of `out` with the segments of `clips` that begin at sample `starts` of their clip.

        What a clip is too short for is zero. out: (rows, segment_samples) int16 on this device.
        """
        self._copy(clips, starts, out)
        if (starts + self.segment_samples > self.lengths[clips]).any():
            self._silence(clips, starts, out)

    def _silence(self, clips: np.ndarray, starts: np.ndarray, segments: Tensor) -> None:
        """What a clip is too short for."""
        sound = torch.from_numpy(self.lengths[clips] - starts).to(self.device).unsqueeze(1)
        segments.masked_fill_(torch.arange(self.segment_samples, device=self.device) >= sound, 0)

    def _copy(self, clips: np.ndarray, starts: np.ndarray, out: Tensor) -> None:
        rows = torch.from_numpy(self.begins[clips] + starts).to(self.device)
        torch.index_select(self._segments, 0, rows, out=out)

    def waits(self, device: torch.device) -> bool:
        """Whether serving that device from here means waiting for a disk or a copy, so that a thread is worth while.

        To be asked once in a while, as at each epoch. A gather in the memory of the device itself waits for nothing:
        a thread would only cost a second buffer, which no longer fits the cache beside the first.
        """
        return False

    def each(self, jobs: Sequence[Job]) -> Iterator[Tensor]:
        """The segments that `gather` gives of each job, as new float32 in [-1, 1)."""
        return (self._waves(*job) for job in jobs) if self.device.type == "cpu" else self._there(jobs)

    def _there(self, jobs: Sequence[Job]) -> Iterator[Tensor]:
        """In the memory of another device, which is told all places at once: it would wait for each little copy."""
        if not jobs:
            return
        clips, starts = (np.concatenate(some) for some in zip(*jobs, strict=True))
        places = torch.from_numpy(self.begins[clips] + starts).to(self.device)
        short = starts + self.segment_samples > self.lengths[clips]
        ends = np.cumsum([len(some) for some, _ in jobs]).tolist()
        for job, begin, end in zip(jobs, [0, *ends], ends, strict=False):
            segments = torch.index_select(self._segments, 0, places[begin:end])
            if short[begin:end].any():
                self._silence(*job, segments)
            yield segments * SCALE

    def _waves(self, clips: np.ndarray, starts: np.ndarray) -> Tensor:
        waves = torch.empty(len(clips), self.segment_samples)
        sounding = np.minimum(self.lengths[clips] - starts, self.segment_samples).tolist()
        begins = (self.begins[clips] + starts).tolist()
        samples = self.samples.numpy()
        # Row by row, because a row stays in the cache between its two steps.
        for row, begin, length in zip(waves.numpy(), begins, sounding, strict=True):
            row[:length] = samples[begin : begin + length]
            row[:length] *= np.float32(SCALE)
            row[length:] = 0
        return waves

    def whole(self, clip: int, samples: int) -> Tensor:
        """(samples,) int16: a view of the clip from its beginning, or a copy filled up with zeros."""
        begin, there = int(self.begins[clip]), int(self.lengths[clip])
        if there >= samples:
            return self.samples[begin : begin + samples]
        filled = torch.zeros(samples, dtype=torch.int16, device=self.device)
        filled[:there] = self.samples[begin : begin + there]
        return filled

    def moved(self, device: torch.device) -> "Music":
        """The same clips packed into the memory of a device, read in the order of the store."""
        ends = np.cumsum(self.lengths)
        begins = ends - self.lengths
        room = int(self.lengths.sum()) + self.segment_samples
        packed = torch.empty(room, dtype=torch.int16, device=device)
        packed[room - self.segment_samples :] = 0
        for clip in np.argsort(self.begins, kind="stable").tolist():
            packed[begins[clip] : ends[clip]] = self.whole(clip, int(self.lengths[clip]))
        return Music(packed, begins, self.lengths, self.segment_samples)

    @property
    def n_bytes(self) -> int:
        """What `moved` takes of a device's memory."""
        return (int(self.lengths.sum()) + self.segment_samples) * SAMPLE_BYTES


class Stored(Music):
    """The clips as they lie in their shards: mapped into memory, or read at their places while that is quicker.

    files:    the shards. shard_of: (clips,) index into files.
    at_bytes: (clips,) where in its file each clip begins.
    """

    def __init__(
        self,
        files: Sequence[Path],
        shard_of: np.ndarray,
        at_bytes: np.ndarray,
        lengths: np.ndarray,
        segment_samples: int,
    ) -> None:
        self.map = SampleMap(files, spare_samples=segment_samples)
        self.shard_of, self.at_samples = shard_of, at_bytes // SAMPLE_BYTES
        begins = np.array(self.map.starts, np.int64)[shard_of] + self.at_samples
        super().__init__(self.map.samples, begins, lengths, segment_samples)
        self.cold = False

    def waits(self, device: torch.device) -> bool:
        self.cold = self.map.resident_share(PROBES) < WARM_SHARE
        return self.cold or device.type != "cpu"

    def _copy(self, clips: np.ndarray, starts: np.ndarray, out: Tensor) -> None:
        if not self.cold:
            return super()._copy(clips, starts, out)
        files = [self.map.files[shard] for shard in self.shard_of[clips].tolist()]
        read_segments(files, self.at_samples[clips] + starts, out.numpy())


def as_waves(samples: Tensor) -> Tensor:
    """int16 -> new float32 in [-1, 1)."""
    return samples.to(torch.float32, copy=True).mul_(SCALE)
