"""From a plan to its shards, on all cores; each shard is a function of the plan alone.

So a build that was interrupted, kill -9 included, goes on with the shards that are not there yet and ends
in the same bytes. Names carry nothing of time, host or number of workers.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from datasets.cards import StoredFile
from datasets.errors import AudioError, DatasetError
from datasets.recipe import Plan, PlannedClip, Reader

FULL_SCALE = 32768


@dataclass(frozen=True)
class Task:
    """One shard to be made: all that a worker process needs, and nothing it could disagree about."""

    folder: Path
    number: int
    plan_id: str
    source: str
    clips: tuple[PlannedClip, ...]
    read: Reader
    sample_rate_hz: int
    clip_samples: int

    @property
    def file(self) -> Path:
        return self.folder / shard_folder(self.plan_id) / f"{self.number:05d}.arrow"


def shard_folder(plan_id: str) -> str:
    """Folder of a plan's shards: two plans never share one, so neither takes the other's for its own."""
    return f"shards-{plan_id}"


def tasks(plan: Plan, folder: Path) -> list[Task]:
    """The plan's shards, in order."""
    size = plan.clips_per_shard
    parts = [plan.clips[start : start + size] for start in range(0, len(plan.clips), size)]
    fixed = (plan.read, plan.sample_rate_hz, plan.clip_samples)
    plan_id = plan.id
    return [Task(folder, number, plan_id, plan.source, part, *fixed) for number, part in enumerate(parts)]


def make_all(todo: list[Task], workers: int, done: Callable[[int], None]) -> list[StoredFile]:
    """Make the shards that are missing, in `workers` processes; `done` hears the clips of each finished one.

    raises: DatasetError if a worker process dies; KeyboardInterrupt at once, without the shards at work.
    """
    made: dict[int, StoredFile] = {}
    for number, file in _finished(todo, min(workers, len(todo))):
        made[number] = file
        done(len(todo[number].clips))
    return [made[task.number] for task in todo]


def make(task: Task) -> StoredFile:
    """Make one shard unless it is there already, whole and of this plan."""
    from datasets import store

    try:
        store.read_shard(task.file, task.plan_id)
    except DatasetError:
        _write(task)
    return store.stored(task.file, below=task.folder)


def quantise(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """int16 of a float wave, and how many samples were beyond full scale: clipped to it, never wrapped."""
    scaled = np.rint(wave * np.float32(FULL_SCALE))
    beyond = int(np.count_nonzero((scaled > FULL_SCALE - 1) | (scaled < -FULL_SCALE)))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), beyond


def _write(task: Task) -> None:
    from datasets import store

    values = np.empty(len(task.clips) * task.clip_samples, np.int16)
    offsets, clip_ids, clipped, skipped = [0], [], [], []
    for clip in task.clips:
        try:
            wave = task.read(task.source, clip, task.sample_rate_hz, task.clip_samples / task.sample_rate_hz)
        except AudioError as problem:
            skipped.append([clip.clip_id, clip.path, problem.reason, problem.detail])
            continue
        samples, beyond = quantise(wave[: task.clip_samples])
        values[offsets[-1] : offsets[-1] + len(samples)] = samples
        offsets.append(offsets[-1] + len(samples))
        clip_ids.append(clip.clip_id)
        clipped.append(beyond)
    metadata = {
        "plan": task.plan_id,
        "sample_rate_hz": str(task.sample_rate_hz),
        "skipped": json.dumps(skipped),
    }
    store.write_shard(
        task.file, values[: offsets[-1]], np.array(offsets, np.int64), clip_ids, clipped, metadata
    )


def _finished(todo: list[Task], workers: int) -> Iterator[tuple[int, StoredFile]]:
    """(number, file) of each shard as it is finished; in this process if one worker is enough."""
    if workers <= 1:
        yield from ((task.number, make(task)) for task in todo)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        futures = {pool.submit(make, task): task.number for task in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as problem:
        raise DatasetError(
            "a worker process died (out of memory?); type the same again with fewer workers=, it goes on"
        ) from problem
    except BaseException:
        # The pool would first finish what it has fetched, up to two shards a worker; nothing is lost by
        # ending it, since a shard has no name before it is whole.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the driver alone answers it, with one line.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool's idle workers outlive a driver that was killed: each holds the other end of its own queue.
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)
