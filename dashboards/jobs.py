"""Work that takes longer than an answer may: one job at a time, few waiting, each asked after by its key."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from datasets import DatasetError
from search.errors import SearchError
from zoo import ZooError

ONE_LINE = (SearchError, DatasetError, ZooError)  # errors that are fit to be shown as they are
FAULT = "that is a fault of this program; the terminal says more"
Tell = Callable[[float, float], None]
"""(how much is done, of how much: 0 where nobody knows). Ends the job where nobody wants it any more."""


class BusyError(SearchError):
    """More is waiting than may wait."""


class _Unwanted(Exception):
    """Nobody wants the outcome any more."""


@dataclass
class Job:
    """A piece of work. done, of: how far it is. result: once it is done. why: it failed, in one line."""

    key: str
    work: Callable[[Tell], Any]
    after: Callable[[], None]
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    done: float = 0.0
    of: float = 0.0
    result: Any = None
    why: str = ""
    unwanted: bool = False

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")


class Jobs:
    """What waits, runs and has ended. most_waiting: beside the one that runs. most_kept: of those that have ended."""

    def __init__(self, name: str, most_waiting: int, most_kept: int) -> None:
        self.name, self.most_waiting, self.most_kept = name, most_waiting, most_kept
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, key: str, work: Callable[[Tell], Any], after: Callable[[], None] = lambda: None) -> Job:
        """The job of this key: one that waits or runs already, or a new one.

        after: called once whatever becomes of a new job. raises: BusyError if too many wait.
        """
        with self._changed:
            known = self._jobs.get(key)
            if known is not None and not known.ended:
                return known
            if self._closed or self.waiting() >= self.most_waiting:
                raise BusyError(f"{self.waiting()} others are waiting already; try again when they are done")
            self._jobs.pop(key, None)  # so that it stands last
            job = self._jobs[key] = Job(key, work, after)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"job:{self.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return job

    def find(self, key: str) -> Job | None:
        return self._jobs.get(key)

    def waiting(self) -> int:
        """How many wait for one that runs, or are about to."""
        with self._changed:
            return sum(job.state == "waiting" for job in self._jobs.values())

    def before(self, job: Job) -> int:
        """How many come before a job that waits."""
        with self._changed:
            keys = [each.key for each in self._jobs.values() if not each.ended]
            return keys.index(job.key) if job.key in keys else 0

    def drop(self, key: str) -> None:
        """Nobody wants it any more: it is forgotten, and ends at its next word."""
        with self._changed:
            job = self._jobs.pop(key, None)
            if job is None:
                return
            job.unwanted = True
        if job.state == "waiting":
            job.after()

    def close(self, patience_seconds: float = 2.0) -> None:
        """Nothing runs or waits after this."""
        with self._changed:
            self._closed = True
            waiting = [job for job in self._jobs.values() if job.state == "waiting"]
            for job in self._jobs.values():
                job.unwanted = True
            self._jobs.clear()
            self._changed.notify_all()
        for job in waiting:
            job.after()
        if self._thread is not None:
            self._thread.join(patience_seconds)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.result = job.work(lambda done, of, job=job: _tell(job, done, of))  # type: ignore[misc]
                state: Literal["done", "failed"] = "done"
            except _Unwanted:
                state, job.why = "failed", "nobody wanted it any more"
            except ONE_LINE as error:
                state, job.why = "failed", str(error)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                state, job.why = "failed", FAULT
            finally:
                job.after()
            self._end(job, state)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "waiting":
                        job.state = "running"
                        return job
                self._changed.wait()
        return None

    def _end(self, job: Job, state: Literal["done", "failed"]) -> None:
        with self._changed:
            job.state = state
            ended = [each.key for each in self._jobs.values() if each.ended]
            for key in ended[: -self.most_kept]:
                del self._jobs[key]


def _tell(job: Job, done: float, of: float) -> None:
    if job.unwanted:
        raise _Unwanted
    job.done, job.of = done, of
