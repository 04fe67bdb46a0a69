"""Progress of a long job on standard error: a bar on a terminal, a line per tenth elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(label: str, total: int, unit: str = "clips") -> Iterator[Callable[[int], None]]:
    """Yield the function to call with the number of clips (or what `unit` says) just finished, of `total`."""
    if sys.stderr.isatty():
        with _bar(label, total, unit) as advance:
            yield advance
    else:
        yield _Tenths(label, total, unit)


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    # A terminal of its own: standard error is lent while music is decoded (datasets/quiet.py)
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as terminal,
        Progress(*columns, console=Console(file=terminal)) as bar,
    ):
        task = bar.add_task(label, total=total)
        yield lambda clips: bar.advance(task, clips)


class _Tenths:
    """Say how far the job is each time another tenth is done."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit, self.done, self.said = label, total, unit, 0, -1

    def __call__(self, clips: int) -> None:
        self.done += clips
        tenth = 10 * self.done // max(1, self.total)
        if tenth > self.said:
            self.said = tenth
            sys.stderr.write(f"{self.label}: {self.done} of {self.total} {self.unit}\n")  # in one piece
            sys.stderr.flush()
