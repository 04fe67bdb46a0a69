"""python -m search.compare A B: which of two is better, and how sure that is."""

import sys
from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from datasets import words
from datasets.errors import DatasetError
from search.errors import SearchError, without_password
from search.scoring import literature, protocol, scores
from search.scoring.comparing import (
    Compared,
    Comparison,
    TagDifference,
    compare_seeds,
    tag_differences,
)
from search.scoring.intervals import TIE, Difference
from zoo import ZooError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from search.results.named import Named

HELP = """\
Compare two networks, and say how sure the difference is.

  python -m search.compare A B [tags=10] [storage=URL] [tracking=URL]

A and B are each a trial's signature (or its first 6 digits or more) or folder, an MLflow run, models:/NAME@ALIAS, the
name of a search (its best network by the validation clips, with all seeds), or a network of it as SEARCH/NETWORK. tags
is how many tags are shown. storage and tracking are the ledger's and MLflow's addresses, as in search.run.
exit codes: 0 compared, 2 wrong words, or two that can't be compared
"""
DONE, WRONG_WORDS = 0, 2
BY_ITSELF = (
    "This pair is tested by itself, with less caution than a leaderboard's pairs, which are tested all at once: the "
    "two may share a rank there."
)
TITLES = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if not typed or any(word in ("-h", "--help", "help") for word in typed):
        print(HELP)
        return DONE if typed else WRONG_WORDS
    try:
        return _compare(typed)
    except (SearchError, DatasetError, ZooError) as error:
        print(without_password(str(error)), file=sys.stderr)
        return WRONG_WORDS


def _compare(typed: Sequence[str]) -> int:
    from search.results.named import find, split

    both, more = split(typed)
    if len(both) != 2:
        raise SearchError(
            f"{len(both)} to compare: give two, as {words.command('search.compare', ['A', 'B'])}"
        )
    given = words.parse(more, ("tags", "storage", "tracking"))
    if not (most := given.get("tags", "10")).isdecimal():
        raise SearchError(f"tags={most}: give a whole number, 0 or more")
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    a, b = (find(word, given.get("storage"), given.get("tracking")) for word in both)
    for part in screen(a, b, int(most)):
        console.print(part, soft_wrap=isinstance(part, str))
    return DONE


def screen(a: "Named", b: "Named", most_tags: int = 10) -> list["RenderableType"]:
    """The comparison for a terminal. raises: SearchError, which says what differs, if the two can't be compared."""
    if {each.signature for each in a.trainings} == {each.signature for each in b.trainings}:
        return [f"A and B are the same: {a.title}, and {b.title}; there is nothing to compare"]
    found = compare_seeds(a.scores, b.scores)
    if found.refusal:
        raise SearchError(found.refusal)
    about = protocol.describe(a.scores[0].protocol)
    return [
        f"A  {a.title}{_spread(a)}\nB  {b.title}{_spread(b)}\n{about}\n",
        _numbers(a, b, found),
        f"\n{verdict_line(found)}\n{BY_ITSELF}\n",
        _tags(tag_differences(a.scores, b.scores)[:most_tags]),
        *_unscored(a),
        *_published(a, b, found),
    ]


def _spread(side: "Named") -> str:
    """How far the seeds lie apart."""
    aucs = [each["test"]["roc_auc"] for each in _plain(side)]
    return "" if len(aucs) < 2 else f" (test ROC-AUC spreads by {stdev(aucs):.4f})"


def _plain(side: "Named") -> list[dict]:
    return [scores.points(each.scores) for each in side.trainings]


def _numbers(a: "Named", b: "Named", found: Comparison) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", "A", "B", "A - B", "95% by clip", "95% by artist"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name, each in found.metrics.items():
        table.add_row(f"test {TITLES[name]}", *_compared(each))
    for label, *path in _others(a):
        one, two = (mean(_at(points, path) for points in _plain(side)) for side in (a, b))
        table.add_row(label, f"{one:.4f}", f"{two:.4f}", f"{one - two:+.4f}", "", "")
    return table


def _compared(each: Compared) -> tuple[str, ...]:
    values = (f"{value:.4f} ({sure.low:.3f}-{sure.high:.3f})" for value, sure in (each.first, each.second))
    artist = "not known" if each.by_artist is None else _ends(each.by_artist)
    return (*values, f"{each.deciding.mean:+.4f}", _ends(each.by_clip), artist)


def _ends(each: Difference) -> str:
    return f"{each.low:+.4f} to {each.high:+.4f}"


def _others(side: "Named") -> list[tuple[str, ...]]:
    """What stands beside without an interval: a title, and where it is in a trial's points."""
    parts = _plain(side)[0]["subsets"]
    subsets = [(f"{part.replace('_', ' ')} ROC-AUC", "subsets", part, "roc_auc") for part in parts]
    return [*subsets, ("valid ROC-AUC", "valid", "roc_auc")]


def _at(points: dict, path: Sequence[str]) -> float:
    for key in path:
        points = points[key]
    return float(points)  # type: ignore[arg-type]


def verdict_line(found: Comparison) -> str:
    """The verdict in a sentence."""
    each = found.difference
    said = f"A and B {TIE}" if each.verdict == TIE else f"A is {each.verdict} than B"
    zero = "holds" if each.verdict == TIE else "leaves out"
    return (
        f"{said}: by {found.decided_by}, the 95 % interval of the paired difference of test ROC-AUC, "
        f"{_ends(each)}, {zero} zero"
    )


def _tags(found: Sequence[TagDifference]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("largest differences", "clips", "A", "B", "A - B", "for all tags at 5 %, A is"):
        words_in_it = title.startswith(("largest", "for"))
        table.add_column(title, justify="left" if words_in_it else "right", no_wrap=True)
    for each in found:
        numbers = (f"{each.first:.4f}", f"{each.second:.4f}", f"{each.difference:+.4f}")
        told = "not told apart" if each.verdict == TIE else each.verdict
        table.add_row(each.tag, str(each.positives), *numbers, told)
    return table


def _unscored(side: "Named") -> list[str]:
    silent = [tag["tag"] for tag in _plain(side)[0]["tags"] if tag["roc_auc"] is None]
    return [f"\nin no mean, as the test clips have one class only: {', '.join(silent)}"] if silent else []


def _published(a: "Named", b: "Named", found: Comparison) -> list[str]:
    """What the paper has for each network, and where it lies."""
    lines, about = [], a.scores[0].protocol
    both = found.metrics["roc_auc"]
    for name, side, (_, ours) in (("A", a, both.first), ("B", b, both.second)):
        for row in literature.rows_of(side.network, about["dataset"])[:1]:
            lies = literature.lies(row, about, ours)
            told = (
                f"{lies} A's interval".replace("A", name) if lies else "of other clips, so not to be compared"
            )
            lines.append(
                f"{name}: {side.network} has {row.auc:.4f} in the paper on {row.dataset.upper()}, {told}"
            )
    return ["\n" + "\n".join(lines)] if lines else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
