"""python -m search.clean: what takes room under WAVEZOO_HOME, and what of it nothing needs any more."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from datasets import words
from datasets.errors import DatasetError
from search.errors import SearchError, without_password

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from search.results.leftovers import Leftover, Referrers

HELP = """\
Show what takes room under WAVEZOO_HOME and what of it nothing needs any more; delete that where it is asked for.

  python -m search.clean [delete=KIND,KIND...] [days=1] [storage=URL] [tracking=URL]

Without delete= nothing is deleted. The kinds:
{kinds}

What a search of the ledger or a run of MLflow's names is never deleted, nor what a process holds or has changed within
`days`. storage and tracking are the ledger's and MLflow's addresses, as in search.run: a trial that only another ledger
names is named by nobody here. Runs deleted in MLflow's own pages keep their files until `mlflow gc` is run.
exit codes: 0 done, 2 wrong words, or a ledger or MLflow that can't be asked
"""
DONE, WRONG_WORDS = 0, 2


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if any(word in ("-h", "--help", "help") for word in typed):
        print(_help())
        return DONE
    try:
        _clean(words.parse(typed, ("delete", "days", "storage", "tracking")))
    except (SearchError, DatasetError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG_WORDS
    return DONE


def _help() -> str:
    from search.results.leftovers import KINDS

    rows = [f"  {each.name:8} {each.what}; lost with them: {each.loses}" for each in KINDS]
    return HELP.format(kinds="\n".join(rows))


def _clean(given: Mapping[str, str]) -> None:
    from rich.console import Console

    from search.results import leftovers

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    chosen = leftovers.kinds(given["delete"]) if "delete" in given else []
    days = _days(given.get("days", "1"))
    with console.status("looking at what there is"):
        referrers = leftovers.Referrers(given.get("storage"), given.get("tracking"))
        found = leftovers.find(referrers.now(), days * leftovers.DAY_SECONDS)
        table = _usage()
    console.print(table)
    console.print()
    if not found:
        console.print(f"nothing is left over that has not changed for {days:g} days")
        return
    console.print(_table(found))
    console.print()
    doomed = [each for each in found if each.kind in chosen]
    if not chosen:
        kinds = ",".join(dict.fromkeys(each.kind for each in found))
        others = [without_password(f"{key}={value}") for key, value in given.items()]
        again = words.command("search.clean", [f"delete={kinds}", *others])
        console.print(f"nothing has been deleted; to delete: {again}", soft_wrap=True)
        return
    _remove(doomed, referrers, console)


def _days(said: str) -> float:
    try:
        days = float(said)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise SearchError(f"days={said}: give a number, 0 or more")
    return days


def _usage() -> "Table":
    """What each folder and file of the home takes, the largest first."""
    from rich.table import Table

    from datasets.home import home
    from search.results.leftovers import size

    table = Table(box=None, pad_edge=False)
    table.add_column(str(home()), overflow="fold")
    table.add_column("GB", justify="right")
    sizes = {each.name: size(each) for each in home().glob("*")}
    for name, taken in sorted(sizes.items(), key=lambda each: -each[1]):
        table.add_row(name, _gigabytes(taken))
    table.add_row("in all", _gigabytes(sum(sizes.values())))
    return table


def _table(found: Sequence["Leftover"]) -> "Table":
    from rich.table import Table

    from search.results.leftovers import KINDS

    table = Table(box=None, pad_edge=False)
    for title in ("left over", "number", "GB", "what", "lost with it"):
        table.add_column(title, justify="right" if title in ("number", "GB") else "left", overflow="fold")
    for kind in KINDS:
        own = [each.n_bytes for each in found if each.kind == kind.name]
        if own:
            table.add_row(kind.name, f"{len(own):,}", _gigabytes(sum(own)), kind.what, kind.loses)
    return table


def _remove(doomed: Sequence["Leftover"], referrers: "Referrers", console: "Console") -> None:
    from search.results.leftovers import remove

    gone: list[Leftover] = []
    try:
        with console.status(f"deleting {len(doomed):,}"):
            remove(doomed, referrers.now, gone.append)
    finally:  # whatever stops it, say what is gone
        freed = _gigabytes(sum(each.n_bytes for each in gone))
        console.print(f"deleted {len(gone):,} of {len(doomed):,}, {freed} GB")


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
