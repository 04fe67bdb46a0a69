"""A bar on a terminal goes on while music is decoded, when standard error is lent."""

import os
import pty
import select
import subprocess
import sys

DECODING = """
import sys
from datasets.progress import progress
from datasets.quiet import quiet_decoder

with progress("tagging", 3, "files") as advance, quiet_decoder():
    advance(3)
    sys.stdin.readline()
"""


def test_a_bar_is_drawn_while_standard_error_is_lent() -> None:
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", DECODING],
        stdin=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(terminal)
        drawn = b""
        try:
            while b"3/3" not in drawn:
                assert select.select([ours], [], [], 30)[0], f"nothing more is drawn than {drawn!r}"
                drawn += os.read(ours, 4096)
        finally:
            process.communicate(b"\n", timeout=60)
            os.close(ours)
    assert process.returncode == 0
