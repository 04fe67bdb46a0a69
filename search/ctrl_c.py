"""Ctrl-C, heard for certain: an exception that a signal raises is lost where Python calls a weak reference's callback.

Imports have such callbacks, and the first seconds of a search are imports.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_typed = threading.Event()


@contextmanager
def remembered() -> Iterator[None]:
    """Around a command: `check` raises what was lost. Nothing changes where Ctrl-C is handled otherwise already."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _typed.clear()


def check() -> None:
    """raises: KeyboardInterrupt if Ctrl-C was typed since the command began."""
    if was_typed():
        raise KeyboardInterrupt


def was_typed() -> bool:
    """Whether Ctrl-C was typed since the command began, be it that it was heard or not."""
    return _typed.is_set()


def _interrupted(number: int, frame: FrameType | None) -> None:
    _typed.set()
    raise KeyboardInterrupt
