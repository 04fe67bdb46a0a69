"""Ways of loading: this project's, and those that taggers use elsewhere, each at its quickest that we know.

A way is opened, and then serves any list of jobs (clips, starts) as batches. What a peer's program does besides
(look-ups of labels, transforms) is left out, so these rates are upper bounds of theirs.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .clips import SEGMENT_SAMPLES, Clips

Job = tuple[np.ndarray, np.ndarray]  # of a batch: clips, and the sample of each at which its segment starts
Serve = Callable[[Sequence[Job]], Iterator[Tensor]]
WORKERS = 2


@dataclass(frozen=True)
class Way:
    """A way of loading.

    kind: of the files it reads, as Clips.files knows them.
    open: what is done once before the first epoch.
    scale: what full scale is in its batches.
    """

    title: str
    kind: str
    open: Callable[[Clips], Serve]
    scale: int = 1


def _ours_gather(clips: Clips) -> Serve:
    split = clips.split()

    def serve(jobs: Sequence[Job]) -> Iterator[Tensor]:
        split.music.waits(split.device)
        buffer = split.music.new_buffer(max(len(chosen) for chosen, _ in jobs))
        for job in jobs:
            split.music.gather(*job, buffer)
            yield buffer

    return serve


def _ours_int16(clips: Clips) -> Serve:
    split = clips.split()

    def serve(jobs: Sequence[Job]) -> Iterator[Tensor]:
        # What a GPU is sent: the reused buffers as the background thread has filled them.
        split.music.waits(split.device)
        return split._gathered(jobs)

    return serve


def _ours_float32(clips: Clips) -> Serve:
    split = clips.split()

    def serve(jobs: Sequence[Job]) -> Iterator[Tensor]:
        # Split.batches with an order given from outside, tags included.
        return (wave for wave, _ in split._serve(jobs))

    return serve


class _Files(Dataset):
    """One clip per file, read by `read(file, start)`: (samples,) float32."""

    def __init__(self, files: list[Path], read: Callable[[Path, int], np.ndarray]) -> None:
        self.files, self.read = files, read

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        clip, start = item
        return self.read(self.files[clip], start)


class _Batches:
    """Sampler of batches whose jobs can be changed, so that workers need not be started again."""

    def __init__(self) -> None:
        self.jobs: Sequence[Job] = ()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for clips, starts in self.jobs:
            yield list(zip(clips.tolist(), starts.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.jobs)


def _loader(dataset: Dataset, workers: int = 0) -> Serve:
    batches = _Batches()
    loader: DataLoader = DataLoader(
        dataset, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0
    )

    def serve(jobs: Sequence[Job]) -> Iterator[Tensor]:
        batches.jobs = jobs
        return iter(loader)

    if workers:
        for _ in serve([(np.zeros(1, np.int64), np.zeros(1, np.int64))]):
            pass  # the workers have started now; they end with the loader
    return serve


def _slice_of_npy(file: Path, start: int) -> np.ndarray:
    return np.array(np.load(file, mmap_mode="r")[start : start + SEGMENT_SAMPLES])


def _whole_npy(file: Path, start: int) -> np.ndarray:
    return np.load(file)[start : start + SEGMENT_SAMPLES]


def _whole_sound(file: Path, start: int) -> np.ndarray:
    import soundfile

    return soundfile.read(file, dtype="float32")[0][start : start + SEGMENT_SAMPLES]


def _piece_of_sound(file: Path, start: int) -> np.ndarray:
    import soundfile

    return soundfile.read(file, frames=SEGMENT_SAMPLES, start=start, dtype="float32")[0]


class _Rows(Dataset):
    """Rows of one Arrow table over all shards, memory-mapped: row, to NumPy, to a tensor of the whole clip.

    These are the steps of the `datasets` package of Hugging Face for set_format("torch"). That package can't be
    imported beside ours, which has the same name, so they are written out; without its decoding of features, and
    with rows of int16, which it would make int64.
    """

    def __init__(self, files: list[Path]) -> None:
        import pyarrow as pa

        self.table = pa.concat_tables(
            [pa.ipc.open_file(pa.memory_map(str(file))).read_all() for file in files]
        )

    def __getitem__(self, item: tuple[int, int]) -> Tensor:
        clip, start = item
        row = self.table.slice(clip, 1).column("samples").chunk(0).to_numpy(zero_copy_only=False)[0]
        return torch.tensor(row)[start : start + SEGMENT_SAMPLES].to(torch.float32) / 32768


OURS = (
    Way("ours, the gather into a reused int16 buffer", "store", _ours_gather, scale=32768),
    Way("ours, int16 by the thread, as a GPU is sent it", "store", _ours_int16, scale=32768),
    Way("ours, float32, as a processor is given it", "store", _ours_float32),
)
MAPPED_NPY = Way(
    "(a) float .npy per clip, mapped and sliced",
    "npy",
    lambda clips: _loader(_Files(clips.files("npy"), _slice_of_npy)),
)
PEERS = (
    MAPPED_NPY,
    Way(
        f"(b) the same read whole, {WORKERS} DataLoader workers",
        "npy",
        lambda clips: _loader(_Files(clips.files("npy"), _whole_npy), WORKERS),
    ),
    Way("(c) Arrow rows to tensors", "store", lambda clips: _loader(_Rows(clips.files("store")))),
    Way(
        "(d) mp3 decoded whole by soundfile",
        "mp3",
        lambda clips: _loader(_Files(clips.files("mp3"), _whole_sound)),
    ),
    Way(
        "(d) flac, the segment decoded by soundfile",
        "flac",
        lambda clips: _loader(_Files(clips.files("flac"), _piece_of_sound)),
    ),
)


def worker_pids() -> list[int]:
    """Processes that serve for this one at the moment."""
    return [process.pid for process in multiprocessing.active_children() if process.pid]
