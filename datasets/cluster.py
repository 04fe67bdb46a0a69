"""Shards as tasks of a Ray cluster whose nodes see the same source and home folders.

Each task keeps a worker process of its own beside it, as a local build does, so a clip that hangs or crashes
costs itself alone there too. Bytes do not depend on where a shard is made.
"""

import functools
import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Ray reads these when it is imported.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_UV_RUN_RUNTIME_ENV="0")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever can reach Ray's port can run code: never without

import ray
from ray.exceptions import RayError, RayTaskError

from datasets import head
from datasets.cards import StoredFile
from datasets.errors import DatasetError
from datasets.shards import Task
from datasets.workers import LOST_TRIES, Pool


def make_all(
    todo: Sequence[Task], address: str, at_once: int | None, seconds_per_clip: float
) -> Iterator[tuple[Task, StoredFile]]:
    """Make shards as tasks on the cluster; yields each as it is finished.

    address: HOST:PORT, or `auto` for the one this machine belongs to. at_once: most tasks at a time; None
             leaves it to Ray, which gives each a core.
    raises:  DatasetError if the cluster can't be reached, has no core, loses a task again and again, or has
             a node that does not see the folders; else as datasets.workers.
    """
    with _connected(address):
        waiting, running = deque(todo), dict[ray.ObjectRef, Task]()
        while waiting or running:
            while waiting and (at_once is None or len(running) < at_once):
                task = waiting.popleft()
                running[_make.remote(task, seconds_per_clip)] = task
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield _collect(running.pop(ready), ready)


def _collect(task: Task, ready: ray.ObjectRef) -> tuple[Task, StoredFile]:
    try:
        file, host = ray.get(ready)
    except RayTaskError as problem:
        raise problem.cause from problem
    except RayError as problem:
        raise DatasetError(
            f"the cluster lost shard {task.file.name} {LOST_TRIES + 1} times ({type(problem).__name__}); "
            "type the same again, it goes on"
        ) from problem
    if not task.file.is_file():
        raise DatasetError(f"{host} made {task.file}, and it is not seen here; {_SHARE}")
    return task, file


@contextmanager
def _connected(address: str) -> Iterator[None]:
    try:
        head.knock(address, "address")
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except head.HeadError as problem:
        raise DatasetError(str(problem)) from problem
    except (ConnectionError, RuntimeError, ValueError, RayError) as problem:
        raise DatasetError(f"can't reach Ray at address={address}: {problem}") from problem
    try:
        if ray.cluster_resources().get("CPU", 0) < 1:
            raise DatasetError(f"the cluster at address={address} has no core to build with; add a node")
        yield
    finally:
        head.leave()


_SHARE = "all nodes must see the same source= and the same home (WAVEZOO_HOME or out=), on a shared disk"


@ray.remote(num_cpus=1, max_retries=LOST_TRIES)
def _make(task: Task, seconds_per_clip: float) -> tuple[StoredFile, str]:
    """On a node: the shard, and the node's name."""
    host = socket.gethostname()
    for place in (str(task.folder), task.source):
        if Path(place).is_absolute() and not Path(place).exists():
            raise DatasetError(f"{host} does not see {place}; {_SHARE}")
    pool = _pool(seconds_per_clip)
    try:
        ((_, file),) = pool.run([task])
    except BaseException:
        pool.close()
        raise
    return file, host


@functools.cache
def _pool(seconds_per_clip: float) -> Pool:
    # Ray uses its processes again for other tasks, and ours stays beside it.
    return Pool(1, seconds_per_clip)
