"""The next batch is made while this one is used: a background thread that fills a few buffers in turn."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["Prefetch"]

Job = TypeVar("Job")
Buffer = TypeVar("Buffer")


class Prefetch(Generic[Job, Buffer]):
    """Iterate to get `fill(job, buffer)` done for each job in order, one buffer after the other.

    A buffer belongs to whoever got it until the next one is asked for; then it is filled again.
    fill:    runs in the thread; what it raises is raised where the batch was asked for.
    buffers: two or more; all but one of them are filled ahead.
    """

    def __init__(
        self, jobs: Sequence[Job], buffers: Sequence[Buffer], fill: Callable[[Job, Buffer], None]
    ) -> None:
        self._jobs, self._fill = jobs, fill
        self._free: queue.SimpleQueue[Buffer | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[Buffer | BaseException] = queue.SimpleQueue()
        for buffer in buffers:
            self._free.put(buffer)
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __iter__(self) -> Iterator[tuple[Job, Buffer]]:
        """(job, its filled buffer), in the order of the jobs. The thread ends with the iteration, however it ends."""
        self._thread.start()
        try:
            for job in self._jobs:
                filled = self._full.get()
                if isinstance(filled, BaseException):
                    raise filled
                yield job, filled
                self._free.put(filled)
        finally:
            self._free.put(None)
            self._thread.join()

    def _work(self) -> None:
        try:
            for job in self._jobs:
                buffer = self._free.get()
                if buffer is None:
                    return
                self._fill(job, buffer)
                self._full.put(buffer)
        except BaseException as error:
            self._full.put(error)
