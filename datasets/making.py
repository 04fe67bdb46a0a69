"""Where the shards of a build are made: in this process, in worker processes, or on a cluster."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from datasets.cards import StoredFile
from datasets.shards import Task, make
from datasets.workers import SECONDS_PER_CLIP, Pool, memory_bytes


@dataclass(frozen=True)
class Means:
    """What a build may use.

    workers:          processes, or tasks at once on a cluster; None is one for each core there is.
    address:          of a Ray cluster; None stays on this machine.
    seconds_per_clip: a clip that takes longer is given up.
    protected:        use a worker process even for one worker, so that no clip can end the build.
    """

    workers: int | None = None
    address: str | None = None
    seconds_per_clip: float = SECONDS_PER_CLIP
    protected: bool = False

    @property
    def here(self) -> bool:
        """Whether this very process decodes."""
        return self.address is None and not self.protected and (self.workers or cores()) == 1


def make_all(todo: Sequence[Task], means: Means, done: Callable[[int], None]) -> list[StoredFile]:
    """Make the shards that are missing or damaged; `done` hears the clips of each finished one.

    returns: the files, in the order of `todo`.
    raises:  DatasetError and OSError as the makers do; KeyboardInterrupt at once, without the shards at work.
    """
    made: dict[int, StoredFile] = {}
    for task, file in _finished(todo, means):
        made[task.number] = file
        done(len(task.clips))
    return [made[task.number] for task in todo]


def _finished(todo: Sequence[Task], means: Means) -> Iterator[tuple[Task, StoredFile]]:
    if means.here:
        yield from ((task, make(task)) for task in todo)
    elif means.address is not None:
        from datasets import cluster

        yield from cluster.make_all(todo, means.address, means.workers, means.seconds_per_clip)
    else:
        workers = min(means.workers or cores(), len(todo))
        with closing(Pool(workers, means.seconds_per_clip)) as pool:
            yield from pool.run(todo)


def announcement(todo: Sequence[Task], means: Means) -> str:
    """What is about to happen and what it takes at most: shards, disk, processes, memory."""
    missing = [task for task in todo if not task.file.exists()]
    needed, free = sum(task.shard_bytes for task in missing), shutil.disk_usage(todo[0].folder).free
    disk = f"{len(missing):,} of {len(todo):,} shards to make, at most {needed / 1e9:,.1f} GB on disk"
    disk += f" ({free / 1e9:,.1f} GB are free{': that may not be enough' if needed > free else ''})"
    if means.here:
        return f"{disk}; in this process"
    each = f"at most {memory_bytes(todo) / 1e6:,.0f} MB of memory each, {means.seconds_per_clip:g} s a clip"
    if means.address is not None:
        return f"{disk}; tasks on the cluster at {means.address}, {each}"
    return f"{disk}; worker processes: {min(means.workers or cores(), len(todo))}, {each}"


def cores() -> int:
    """Cores this process may use; not every system tells them apart from those there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
