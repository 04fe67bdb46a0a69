"""libmpg123's notes about damaged frames kept off the terminal.

The decoder prints from C, so the file descriptor of standard error itself is lent to a file meanwhile.
"""

import contextlib
import fcntl
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

__all__ = ["quiet_decoder"]

STDERR = 2
NOISE = re.compile(rb"^(?:Note|Warning): [^\n]*\n?|(?:^\n)?^\[?src/libmpg123[^\n]*\n?", re.MULTILINE)


class _Lent:
    """Standard error, which is a file's as long as any thread decodes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoders = 0
        self.kept: int | None = None  # what standard error is; None where it is not lent, or there is none
        self.noise: IO[bytes] | None = None
        self.told = 0  # bytes of the file

    def lend(self) -> None:
        with self.lock:
            self.decoders += 1
            if self.decoders > 1:
                return
            # There may be no standard error, or no descriptor left; then noise is heard
            with contextlib.suppress(OSError):
                kept = os.dup(STDERR)
                try:
                    self.noise, self.told = _noise_file(), 0
                    # Several threads write; a place that they share would be set back by one that was held up
                    fcntl.fcntl(self.noise, fcntl.F_SETFL, os.O_APPEND)
                    os.dup2(self.noise.fileno(), STDERR)
                except OSError:
                    os.close(kept)
                    raise
                self.kept = kept

    def give_back(self) -> None:
        """What else was written passes at once, in whole lines, even while others decode."""
        with self.lock:
            self.decoders -= 1
            if self.kept is None or self.noise is None:
                return
            if not self.decoders:
                os.dup2(self.kept, STDERR)
            written = self.noise.fileno()
            fresh = os.pread(written, os.fstat(written).st_size - self.told, self.told)
            if self.decoders:  # who writes the rest of a line is not done yet
                fresh = fresh[: fresh.rfind(b"\n") + 1]
            self.told += len(fresh)
            with contextlib.suppress(OSError):  # nobody reads it any more, which is no fault of the music
                os.write(self.kept, NOISE.sub(b"", fresh))
            if not self.decoders:
                os.close(self.kept)
                self.noise.close()
                self.kept = self.noise = None


def _noise_file() -> IO[bytes]:
    """Nameless and in memory where the system has that: a full disk must not look like damaged music."""
    return os.fdopen(os.memfd_create("noise"), "w+b") if sys.platform == "linux" else tempfile.TemporaryFile()


_lent = _Lent()


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep libmpg123's notes off the terminal; whatever else is written passes. Several threads may decode at once."""
    _lent.lend()
    try:
        yield
    finally:
        _lent.give_back()
