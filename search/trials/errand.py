"""What a process does beside its training: one thing at a time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Errand:
    """A thread that does one thing after the other; it is there from the first one until `close`."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._doing: Future[object] | None = None

    def begin(self, act: Callable[[], object]) -> None:
        """Do it, after what was begun before. raises: as `wait` does."""
        self.wait()
        self._thread = self._thread or ThreadPoolExecutor(1, "errand")
        self._doing = self._thread.submit(act)

    def wait(self) -> None:
        """Until what was begun is done. raises: what that raised, once."""
        doing, self._doing = self._doing, None
        if doing is not None:
            doing.result()

    def close(self) -> None:
        """Wait, and end the thread. raises: as `wait` does."""
        try:
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
