"""libmpg123's notes about damaged frames kept off the terminal.

The decoder prints from C, so the file descriptor of standard error itself is lent to a file meanwhile.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

__all__ = ["quiet_decoder"]

STDERR = 2
NOISE = re.compile(rb"Note: |Warning: |\[?src/libmpg123")
LINES = re.compile(rb"[^\n]*\n|[^\n]+")  # a progress bar's carriage return ends none


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
            if self.decoders == 1:
                with contextlib.suppress(OSError):  # no standard error at all, so no noise either
                    kept = os.dup(STDERR)
                    self.noise, self.told = _noise_file(), 0
                    os.dup2(self.noise.fileno(), STDERR)
                    self.kept = kept

    def give_back(self) -> None:
        """What else was written passes at once, even while others decode: a progress bar has to go on."""
        with self.lock:
            self.decoders -= 1
            if self.kept is None or self.noise is None:
                return
            if not self.decoders:
                os.dup2(self.kept, STDERR)
            # Not by the file's own reading, whose place is the place where others write
            fresh = os.pread(
                self.noise.fileno(), os.fstat(self.noise.fileno()).st_size - self.told, self.told
            )
            self.told += len(fresh)
            os.write(self.kept, _without_noise(fresh))
            if not self.decoders:
                os.close(self.kept)
                self.noise.close()
                self.kept = self.noise = None


def _without_noise(told: bytes) -> bytes:
    lines = LINES.findall(told)
    if any(NOISE.match(line) for line in lines):  # there are empty lines in it, too
        lines = [line for line in lines if line.strip() and not NOISE.match(line)]
    return b"".join(lines)


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
