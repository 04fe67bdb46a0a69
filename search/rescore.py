"""python -m search.rescore RUN: all numbers of a training anew, from the scores of its clips, without its network."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import words
from datasets.errors import DatasetError
from search.errors import SearchError, without_password

if TYPE_CHECKING:
    from rich.console import RenderableType

    from search.results.named import Trained

HELP = """\
Compute all numbers of a training anew from the scores of its clips, and compare them with what was recorded.

  python -m search.rescore RUN [out=FILE] [storage=URL] [tracking=URL]

RUN is a trial's signature (or its first 6 digits or more) or folder, an MLflow run, models:/NAME@ALIAS, the name of a
search (its best network), or a network of it as SEARCH/NETWORK.
out=FILE writes the numbers as JSON. storage and tracking are the ledger's and MLflow's addresses, as in search.run.
exit codes: 0 all numbers are those that were recorded, 1 some are not, 2 wrong words
"""
EQUAL, DIFFERENT, WRONG_WORDS = 0, 1, 2


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if not typed or any(word in ("-h", "--help", "help") for word in typed):
        print(HELP)
        return EQUAL if typed else WRONG_WORDS
    try:
        return _rescore(typed[0], words.parse(typed[1:], ("out", "storage", "tracking")))
    except (SearchError, DatasetError, OSError) as error:
        print(without_password(str(error)), file=sys.stderr)
        return WRONG_WORDS


def _rescore(word: str, given: Mapping[str, str]) -> int:
    from rich.console import Console

    from search import files
    from search.results import named

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    found = named.find(word, given.get("storage"), given.get("tracking"))
    summaries, wrong = {}, 0
    for trained in found.trainings:
        summary, differences = rescored(trained)
        summaries[trained.signature] = summary
        wrong += bool(differences)
        for part in _screen(trained, summary, differences):
            console.print(part)
    if "out" in given:
        files.write_json(Path(given["out"]), summaries)
        console.print(f"written to {given['out']}")
    return DIFFERENT if wrong else EQUAL


def rescored(trained: "Trained") -> tuple[dict[str, Any], list[str]]:
    """The summary made anew, and in words each number that is not the one that was recorded."""
    from search.scoring import resamples, scores

    summary = scores.summary(trained.scores, resamples.of(trained.scores))
    now = scores.numbers(summary)
    differences = [
        f"{name}: recorded {trained.recorded[name]!r}, now {value!r}"
        for name, value in now.items()
        if name in trained.recorded and trained.recorded[name] != value
    ]
    return summary, differences


def _screen(
    trained: "Trained", summary: Mapping[str, Any], differences: Sequence[str]
) -> list["RenderableType"]:
    from rich.table import Table

    from search.scoring import protocol, scores

    numbers = Table(box=None, pad_edge=False)
    for title in ("", "now", "recorded"):
        numbers.add_column(title, justify="right" if title else "left")
    for name, value in scores.numbers(summary).items():
        kept = trained.recorded.get(name)
        numbers.add_row(name, f"{value:.6g}", "" if kept is None else f"{kept:.6g}")
    verdict = "all numbers are those that were recorded" if not differences else "not what was recorded:"
    return [
        str(trained),
        protocol.describe(summary["protocol"]),
        "",
        numbers,
        "",
        scores.tag_table(summary["tags"], summary["protocol"]["clips"]),
        "",
        "\n".join([verdict, *differences]),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
