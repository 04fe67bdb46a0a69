"""Worker processes: a clip that hangs, crashes its decoder or eats the memory costs itself alone.

Nothing is paid per clip for that. A worker notes in shared memory which clip it reads; its driver looks when
the worker dies or when the note has stood still for the time limit. The clip is then read once more, alone
in a fresh process. If it fails there too it is given up, and the shard is made without it; if it doesn't,
the process was at fault (killed from outside, as for want of memory), and the shard is made again.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from datasets import shards
from datasets.cards import StoredFile
from datasets.errors import AudioError, DatasetError
from datasets.shards import Task

SECONDS_PER_CLIP = 60.0
IDLE = -1  # no clip is being read: the worker starts, or writes its shard
LOST_TRIES = 3
# Nobody's decoder sends these: whoever kills a process from outside does, the kernel out of memory first.
FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
PROGRAM_BYTES = 192 * 2**20  # Python, NumPy, Arrow and the decoders, with room to move
KEPT_BYTES = 192 * 2**20  # freed memory that a worker keeps, which counts as its own; see keep_freed_memory
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
SPAWN = multiprocessing.get_context("spawn")
NEEDED = ("soundfile", "soxr", "datasets.store")


@dataclass
class Job:
    """What a worker is at: a shard, or one clip of it alone.

    given_up: reason by position of the clips that the shard does without.
    alone:    position of the one clip to be read and dropped, to see whether it can be.
    lost:     how often a process was lost over this shard without a clip being at fault.
    """

    task: Task
    given_up: dict[int, str] = field(default_factory=dict)
    alone: int | None = None
    lost: int = 0


class Pool:
    """So many worker processes, each of which is replaced when it dies; close() ends them.

    raises: DatasetError if a package is missing that they need.
    """

    def __init__(self, workers: int, seconds_per_clip: float = SECONDS_PER_CLIP) -> None:
        load_needed()  # a worker that ends for want of a package looks like one that ended for want of memory
        self.benches = [Bench(seconds_per_clip) for _ in range(workers)]

    def run(self, todo: Sequence[Task]) -> Iterator[tuple[Task, StoredFile]]:
        """Make shards; yields each as it is finished.

        raises: DatasetError if processes keep dying over a shard whose clips are not at fault; OSError and
                DatasetError of the target and the source, as they come.
        """
        waiting = deque(todo)
        while True:
            for bench in self.benches:
                if bench.job is None and waiting:
                    bench.begin(Job(waiting.popleft()))
            busy = [bench for bench in self.benches if bench.job is not None]
            if not busy:
                return
            wait([thing for bench in busy for thing in bench.waitable()], timeout=busy[0].look_every_seconds)
            for bench in busy:
                task = bench.job.task if bench.job else None
                file = bench.look()
                if task is not None and file is not None:
                    yield task, file

    def close(self) -> None:
        """End all workers at once; nothing is lost, since a shard has no name before it is whole."""
        for bench in self.benches:
            bench.end()


class Bench:
    """One worker's place: its process, its pipe, what it is at, and since when."""

    def __init__(self, seconds_per_clip: float) -> None:
        self.seconds_per_clip = seconds_per_clip
        self.look_every_seconds = min(1.0, seconds_per_clip / 4)
        self.job: Job | None = None
        self.process: multiprocessing.process.BaseProcess | None = None

    def begin(self, job: Job) -> None:
        """Give the worker something to do, starting a process if there is none."""
        if self.process is None:
            self._start()
        self.position.value = IDLE
        self.job, self.seen, self.since = job, IDLE, time.monotonic()
        with suppress(OSError):  # it died meanwhile, and look() will find that
            self.pipe.send((job.task, job.given_up, job.alone))

    def waitable(self) -> tuple[Connection, int]:
        """What becomes ready when there is something to look at."""
        assert self.process is not None
        return self.pipe, self.process.sentinel

    def look(self) -> StoredFile | None:
        """The finished shard, if it is; whatever else has happened is dealt with."""
        job, answer = self.job, self._answer()
        if job is None or answer is None:
            return None
        if isinstance(answer, StoredFile):
            self.job = None
            return answer
        if isinstance(answer, Exception):
            raise answer
        if answer == "read":
            self._lost(job)
        elif answer not in shards.GIVEN_UP:
            self.end()
            self._lost(job)
        else:
            self._suspect(job, answer)
        return None

    def end(self) -> None:
        """End the process, and whatever it has started itself."""
        if self.process is not None:
            if self.process.is_alive() and self.process.pid:
                with suppress(ProcessLookupError):  # it has not come to make its group
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join(timeout=5)  # one that waits for a dead network disk can't even be killed
            self.pipe.close()
        self.process, self.job = None, None

    def _start(self) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.position = SPAWN.RawValue("q", IDLE)
        process = SPAWN.Process(target=_serve, args=(theirs, self.position), daemon=True)
        resource_tracker.ensure_running()  # else it starts within, and lets Ctrl-C through again
        try:
            # A worker begins deaf to Ctrl-C: it would say so itself until it comes to ignoring it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except (
            BaseException
        ):  # as where a script has no `if __name__ == "__main__"`: then there is none to end
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.process = process

    def _answer(self) -> object:
        """What the worker says, or what its silence means; None while it is at work."""
        assert self.process is not None
        alive = self.process.is_alive()  # asked first: what it said before it died is in the pipe
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(timeout=5)
            alive = False
        if not alive:
            return "lost" if self.process.exitcode in FROM_OUTSIDE else "crashed"
        at, now = self.position.value, time.monotonic()
        if at != self.seen:
            self.seen, self.since = at, now
        return "hung" if at != IDLE and now - self.since > self.seconds_per_clip else None

    def _suspect(self, job: Job, why: str) -> None:
        """The process failed over a clip: is it the clip?"""
        position = self.position.value
        self.end()
        if position == IDLE:
            self._lost(job)
        elif job.alone is None:
            self.begin(Job(job.task, job.given_up, position, job.lost))
        else:
            self.begin(Job(job.task, {**job.given_up, job.alone: why}, None, job.lost))

    def _lost(self, job: Job) -> None:
        if job.lost + 1 == LOST_TRIES:
            raise DatasetError(
                f"a worker process died {LOST_TRIES} times over shard {job.task.file.name}, and no clip of it "
                "is to blame (out of memory?); type the same again with fewer workers=, it goes on"
            )
        self.begin(Job(job.task, job.given_up, None, job.lost + 1))


def memory_bytes(todo: Sequence[Task]) -> int:
    """The most memory that one worker takes for these shards: itself, one shard, one clip, and what it keeps."""
    shard, clip = max(task.shard_bytes for task in todo), max(task.clip_bytes for task in todo)
    return PROGRAM_BYTES + shard + clip + KEPT_BYTES


def load_needed() -> None:
    """Load what a worker works with; DatasetError if this Python has not got it."""
    try:
        for module in NEEDED:
            importlib.import_module(module)
    except (ImportError, OSError) as problem:  # the second of a package whose own library is missing
        raise DatasetError(
            f"{sys.executable} can't read audio ({problem}); begin the command with `uv run`, whose Python can"
        ) from problem


def _serve(pipe: Connection, position: ctypes.c_longlong) -> None:
    """A worker's life: take a job, answer, until the driver is gone."""
    # Ctrl-C reaches the driver, which alone answers it, with one line; what a reader starts (an ffmpeg)
    # lies in the worker's own group and ends with it.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    keep_freed_memory()
    # Arrow's own allocator reserves a gigabyte of addresses, which the limit on memory would count.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    load_needed()  # now, so that their time and memory are not charged to the first clip
    at_rest_bytes = _data_bytes()
    with suppress(EOFError, OSError):
        while True:
            task, given_up, alone = pipe.recv()
            _limit_memory(at_rest_bytes, task, alone is not None)
            pipe.send(_answer_to(task, given_up, alone, position))


def _answer_to(
    task: Task,
    given_up: dict[int, str],
    alone: int | None,
    position: ctypes.c_longlong,
) -> object:
    def at(clip: int) -> None:
        position.value = clip

    try:
        if alone is None:
            return shards.make(task, given_up, at)
        at(alone)
        with suppress(AudioError):
            shards.samples(task, task.clips[alone])
        return "read"
    except MemoryError:
        return "too large"
    except DatasetError as problem:
        return DatasetError(str(problem))
    except OSError as problem:
        return problem
    except Exception:
        return RuntimeError(f"in a worker process: {traceback.format_exc()}")


def keep_freed_memory() -> None:
    """Let this process use again what one clip has freed, instead of returning it and asking anew for each.

    A fifth of the time of a build went into the kernel's clearing of fresh pages, 1,500 of them a clip.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; elsewhere nothing is done
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 64 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 128 * 2**20)


def _data_bytes() -> int | None:
    """Private memory this process holds or has reserved; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)


def _limit_memory(at_rest_bytes: int | None, task: Task, alone: bool) -> None:
    """Let the system refuse what goes beyond the shard's buffer and one clip: the clip then fails, alone.

    alone: whether it is the clip alone that is to be read. It then has less room than it had in its shard, so that what
           was too large there is too large here.
    """
    if at_rest_bytes is None:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = at_rest_bytes + task.clip_bytes + (0 if alone else task.shard_bytes + KEPT_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == -1 else min(wanted, hard), hard))


def _end_with_driver() -> None:
    # An idle worker outlives a driver that was killed: it holds the other end of nothing it could notice.
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os.killpg(0, signal.SIGKILL)
