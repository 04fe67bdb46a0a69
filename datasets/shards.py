"""From a plan to its shards; each shard is a function of the plan alone.

So a build that was interrupted, kill -9 included, goes on with the shards that are not there yet and ends
in the same bytes. Names carry nothing of time, host or number of workers, and neither do the reasons for
which a clip is left out.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.cards import StoredFile
from datasets.errors import AudioError, DatasetError
from datasets.recipe import Plan, PlannedClip, Reader

FULL_SCALE = 32768
BLOCK = 2**15
# Errors of the system that are about one file; all others (no space, no descriptors) are about the machine.
OF_ONE_FILE = {
    None,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
# Reasons to leave out a clip that only a process of its own could find; see datasets.workers.
GIVEN_UP = {
    "hung": "it is not decoded within the time limit",
    "crashed": "it ends the process that decodes it",
    "too large": "it needs more memory than a clip may take",
}
LEAST_CLIP_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Task:
    """One shard to be made: all that a worker process needs, and nothing it could disagree about.

    sha256:    what the shard had when it was last finished, if it ever was: damage shows by it.
    try_again: make the shard anew if clips in it were given up on.
    """

    folder: Path
    number: int
    plan_id: str
    source: str
    clips: tuple[PlannedClip, ...]
    read: Reader
    sample_rate_hz: int
    clip_samples: int
    sha256: str | None = None
    try_again: bool = False

    @property
    def file(self) -> Path:
        return self.folder / shard_folder(self.plan_id) / f"{self.number:05d}.arrow"

    @property
    def shard_bytes(self) -> int:
        """The most that the samples of the shard take, in memory as on disk."""
        return len(self.clips) * self.clip_samples * 2

    @property
    def clip_bytes(self) -> int:
        """The most that decoding one clip may take."""
        seconds = self.clip_samples / self.sample_rate_hz
        # A stereo file at 48 kHz as float32, and three copies: decoded, mixed, resampled, scaled.
        return max(LEAST_CLIP_BYTES, round(seconds * 48_000 * 2 * 4 * 4))


def shard_folder(plan_id: str) -> str:
    """Folder of a plan's shards: two plans never share one, so neither takes the other's for its own."""
    return f"shards-{plan_id}"


def tasks(
    plan: Plan, folder: Path, finished: Mapping[str, str] | None = None, try_again: bool = False
) -> list[Task]:
    """The plan's shards, in order. finished: checksum by path below `folder`, of shards finished before."""
    size = plan.clips_per_shard
    parts = [plan.clips[start : start + size] for start in range(0, len(plan.clips), size)]
    fixed = (plan.read, plan.sample_rate_hz, plan.clip_samples)
    made = []
    for number, part in enumerate(parts):
        name = f"{shard_folder(plan.id)}/{number:05d}.arrow"
        sha256 = (finished or {}).get(name)
        made.append(Task(folder, number, plan.id, plan.source, part, *fixed, sha256, try_again))
    return made


def make(
    task: Task,
    given_up: Mapping[int, str] | None = None,
    at: Callable[[int], None] = lambda position: None,
) -> StoredFile:
    """Make one shard unless it is there already, whole, undamaged and of this plan.

    given_up: position of each clip that is not to be read again, with why (a key of GIVEN_UP).
    at:       hears the position of the clip about to be read; -1 when the last one has been.
    raises:   DatasetError if the source is gone, MemoryError, OSError of the target.
    """
    from datasets import store

    kept = None if given_up else _kept(task)
    if kept is None:
        _write(task, given_up or {}, at)
        kept = store.stored(task.file, below=task.folder)
    return kept


def _kept(task: Task) -> StoredFile | None:
    """The shard that is there, if it may stay."""
    from datasets import store

    try:
        shard = store.read_shard(task.file, task.plan_id)
    except DatasetError:
        return None
    if task.try_again and any(reason in GIVEN_UP for _, _, reason, _ in shard.skipped):
        return None
    found = store.stored(task.file, below=task.folder)
    return found if task.sha256 in (None, found.sha256) else None


def samples(task: Task, clip: PlannedClip) -> tuple[np.ndarray, int]:
    """int16 samples of a clip, and how many of them were clipped to full scale.

    raises: AudioError for whatever is wrong with this clip alone, also if its reader fails in a way of its
            own; DatasetError, OSError and MemoryError for what is wrong with the source or the machine.
    """
    wave = _read(task, clip)[: task.clip_samples]
    try:
        return quantise(wave)
    except ValueError as problem:
        raise AudioError(clip.path, "undecodable", str(problem)) from problem


def _read(task: Task, clip: PlannedClip) -> np.ndarray:
    """Waveform of a clip, float32 (samples,); refusals as in samples()."""
    try:
        wave = task.read(task.source, clip, task.sample_rate_hz, task.clip_samples / task.sample_rate_hz)
    except AudioError as problem:
        if problem.reason == "missing":
            _check_source(task)
        raise
    except (DatasetError, MemoryError):
        raise
    except OSError as problem:
        if problem.errno not in OF_ONE_FILE:
            raise
        raise AudioError(clip.path, "undecodable", problem.strerror or "it can't be read") from problem
    except Exception as problem:
        _tell(clip, problem)
        # The words of a stranger's error may hold an address or a time: they would change the bytes.
        why = f"its reader failed ({type(problem).__name__})"
        raise AudioError(clip.path, "undecodable", why) from problem
    if not (isinstance(wave, np.ndarray) and wave.ndim == 1 and wave.dtype == np.float32 and len(wave)):
        raise AudioError(clip.path, "undecodable", "its reader gave no float32 (samples,)")
    return wave


def quantise(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """int16 of a float wave, and how many samples were beyond full scale: clipped to it, never wrapped.

    raises: ValueError if a sample is not a number.
    """
    samples, beyond = np.empty(len(wave), np.int16), 0
    for start in range(0, len(wave), BLOCK):  # each block stays in the processor's cache
        scaled = wave[start : start + BLOCK] * np.float32(FULL_SCALE)
        np.rint(scaled, out=scaled)
        lowest, highest = scaled.min(), scaled.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise ValueError("some samples are not numbers")
        if lowest < -FULL_SCALE or highest > FULL_SCALE - 1:
            beyond += int(np.count_nonzero((scaled > FULL_SCALE - 1) | (scaled < -FULL_SCALE)))
            np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1, out=scaled)
        samples[start : start + BLOCK] = scaled
    return samples, beyond


def _write(task: Task, given_up: Mapping[int, str], at: Callable[[int], None]) -> None:
    from datasets import store

    values = np.empty(len(task.clips) * task.clip_samples, np.int16)
    offsets, clip_ids, clipped, skipped = [0], [], [], []
    for position, clip in enumerate(task.clips):
        at(position)
        try:
            if position in given_up:
                raise AudioError(clip.path, given_up[position], GIVEN_UP[given_up[position]])
            wave, beyond = samples(task, clip)
        except AudioError as problem:
            skipped.append([clip.clip_id, clip.path, problem.reason, problem.detail])
            continue
        values[offsets[-1] : offsets[-1] + len(wave)] = wave
        offsets.append(offsets[-1] + len(wave))
        clip_ids.append(clip.clip_id)
        clipped.append(beyond)
    at(-1)
    metadata = {
        "plan": task.plan_id,
        "sample_rate_hz": str(task.sample_rate_hz),
        "skipped": json.dumps(skipped),
    }
    try:
        store.write_shard(
            task.file, values[: offsets[-1]], np.array(offsets, np.int64), clip_ids, clipped, metadata
        )
    except OSError as problem:  # Arrow's own words name neither the file nor, plainly, what is the matter
        code = problem.errno or errno.EIO
        raise OSError(code, os.strerror(code), str(task.file)) from problem


def _check_source(task: Task) -> None:
    # A disk that was unplugged would otherwise cost every clip that is left, one by one.
    if Path(task.source).is_absolute() and not Path(task.source).exists():
        raise DatasetError(f"{task.source} is gone; when it is back, the same command goes on")


def _tell(clip: PlannedClip, problem: Exception) -> None:
    """Say the first error of its kind in this process: the store has only its type."""
    if type(problem) not in _told:
        _told.add(type(problem))
        print(f"clip {clip.clip_id} ({clip.path}): {type(problem).__name__}: {problem}", file=sys.stderr)


_told: set[type[Exception]] = set()
