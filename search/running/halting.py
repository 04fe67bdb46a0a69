"""The end of a search before its time: running trials save where they are, in the middle of an epoch, and end.

So it is with the end of one trial of several that share a process, after one of its epochs: see `Halt.leave_out`.

The driver asks, the workers look: through Ray's own key-value store, which every node of a cluster reaches, whatever
disks they share, and which takes no room on any.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import ray
from ray.exceptions import RayError
from ray.experimental import internal_kv

from search import ctrl_c
from search.failures import EndNow

PAUSE_SECONDS = 60.0  # how long the driver waits for its trials to save
LOOK_SECONDS = 1.0  # how often a trial asks whether it is to pause
NAMESPACE = "wavezoo"


class Leave(KeyboardInterrupt):
    """Leaves Tune at once: the one way out that it does not turn into something else."""


class Halt:
    """The driver's side. Ctrl-C asks for the end; Ctrl-C again, or too long a wait, leaves Tune at once.

    error: what the search ends with; None while it goes on. tell: shows a person one line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.error: BaseException | None = None
        self._tell, self._over, self._late = tell, threading.Event(), False
        self._waits: int | None = None  # the thread that Tune runs in, once it listens

    def ask(self, error: BaseException, why: str) -> None:
        """Have running trials save and end, and the search end with the error. The first one who asks counts."""
        if self.error is None:
            self.error = error
            # Apart from whoever asks, who may be in a signal's handler: nothing can be waited for there.
            threading.Thread(target=self._pause, args=(why,), name="pause", daemon=True).start()

    def leave_out(self, signature: str) -> None:
        """Have a process that trains several trials train this one no further; it is over before its next epoch."""
        internal_kv._internal_kv_put(f"{_key()}:{signature}", b"1", namespace=NAMESPACE)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While Tune runs: Ctrl-C comes here."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._waits = threading.get_ident()
        before = signal.signal(signal.SIGINT, self._interrupted)
        if ctrl_c.was_typed():
            self.ask(KeyboardInterrupt(), "interrupted")
        try:
            yield
        finally:
            self._over.set()
            signal.signal(signal.SIGINT, before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.error is None:
            self.ask(KeyboardInterrupt(), "interrupted")
            return
        if not self._late:
            self.error = EndNow()
        raise Leave

    def _pause(self, why: str) -> None:
        self._tell(
            f"{why}: the trials that run save where they are, for {PAUSE_SECONDS:.0f} seconds at most; "
            f"Ctrl-C{' again' if isinstance(self.error, KeyboardInterrupt) else ''} ends at once"
        )
        internal_kv._internal_kv_put(_key(), b"1", namespace=NAMESPACE)
        if not self._over.wait(PAUSE_SECONDS) and self._waits is not None:
            self._late = True
            signal.pthread_kill(self._waits, signal.SIGINT)


class Look:
    """The worker's side: call it as often as you like to know whether to pause; Ray is asked now and then."""

    def __init__(self) -> None:
        self._halted, self._next = False, 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._halted and now >= self._next:
            self._next = now + LOOK_SECONDS
            self._halted = _asked()
        return self._halted


def is_left_out(signature: str) -> bool:
    """The worker's side of `Halt.leave_out`."""
    return _is_there(f":{signature}")


def _asked() -> bool:
    return _is_there()


def _is_there(which: str = "") -> bool:
    if not internal_kv._internal_kv_initialized():  # a trial without Ray around it
        return False
    try:
        return bool(internal_kv._internal_kv_exists(_key() + which, namespace=NAMESPACE))
    except RayError:  # its head is busy or gone; then the trial has other worries
        return False


def _key() -> str:
    """Of this driver's run: another one of the same search must not find it."""
    return f"pause:{ray.get_runtime_context().get_job_id()}"
