"""python -m search.table SEARCH: the table of a search for a paper, in the paper's order, or each tag of it."""

import csv
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from datasets import words
from datasets.errors import DatasetError, nearest
from datasets.whole import written_whole
from search.errors import SearchError, without_password
from search.results.leaderboard import Ended, Row
from search.scoring.protocol import describe

HELP = """\
Write the table of a search: a row for each network, in the order of the paper's table.

  python -m search.table SEARCH [format=csv|latex|markdown] [tags=true] [out=FILE] [storage=URL]

SEARCH is the name of a search, as its plan and its leaderboard show it. csv has every number with all its digits; latex
and markdown have what a paper prints: means over the seeds with their deviation, and the 95 % interval (over artists
where they are known, else over clips). tags=true writes the test AUC of each tag instead, a row for each tag and a
column for each network. Without out= it is written to the terminal. storage is the ledger's address, as in search.run.
exit codes: 0 written, 2 wrong words, or a search without results
"""
DONE, WRONG_WORDS = 0, 2
NUMBERS = (
    *("network", "seeds", "epochs", "paper_test_roc_auc", "test_roc_auc", "test_roc_auc_deviation"),
    *("test_roc_auc_low", "test_roc_auc_high", "test_roc_auc_low_by_artist", "test_roc_auc_high_by_artist"),
    *("test_pr_auc", "valid_roc_auc", "signatures"),
)
PRINTED = ("network", "paper", "test ROC-AUC", "95 % interval", "test PR-AUC", "valid ROC-AUC", "seeds")
INTERVAL = re.compile(r"(\d)-(\d)")
LATEX = str.maketrans({each: f"\\{each}" for each in "_%&#${}"})

Cells = list[tuple[str, ...]]


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if not typed or any(word in ("-h", "--help", "help") for word in typed):
        print(HELP)
        return DONE if typed else WRONG_WORDS
    try:
        given = words.parse(typed[1:], ("format", "tags", "out", "storage"))
        _write(table(typed[0], given), given.get("out"))
    except (SearchError, DatasetError) as error:
        print(without_password(str(error)), file=sys.stderr)
        return WRONG_WORDS
    return DONE


def table(name: str, given: Mapping[str, str]) -> str:
    """The table as text. given: the words format, tags and storage.

    raises: SearchError for an unknown search or word, and for a search without results.
    """
    form, by_tag = given.get("format", "markdown"), given.get("tags", "false")
    if form not in WRITERS:
        raise SearchError(f"format={form}: {nearest(form, WRITERS)}")
    if by_tag not in ("true", "false"):
        raise SearchError(f"tags={by_tag}: give true or false")
    ended, board = _found(name, given.get("storage"))
    if by_tag == "true":
        cells = _tag_cells(ended, board, str if form == "csv" else "{:.4f}".format)
    else:
        cells = [NUMBERS, *map(_numbers, board)] if form == "csv" else [PRINTED, *map(_printed, board)]
    return WRITERS[form](cells, describe(ended[0][0]["protocol"]))


def _found(name: str, storage: str | None) -> tuple[list[Ended], list[Row]]:
    """The trainings of a search that have ended, and its rows in the order of the paper's table."""
    from search.results import leaderboard
    from search.study.records import Records

    studies = {each.name: each for each in Records(storage).searches()}
    if name not in studies:
        near = nearest(name, studies) if studies else "there is none here yet"
        raise SearchError(f"no search is called '{name}'; {near}")
    ended = leaderboard.ended(studies[name].trained)
    if not ended:
        raise SearchError(f"no trial of {name} has ended yet")
    paper_table = studies[name].about.paper_table
    return ended, sorted(leaderboard.unranked(ended, paper_table), key=_in_order_of(paper_table))


def _in_order_of(paper_table: str | None) -> Callable[[Row], tuple[int, float]]:
    """The place of a row in the paper's table; networks that are not in it come after, the best first."""
    import zoo

    places = {name: at for at, name in enumerate(zoo.names(table=paper_table) if paper_table else [])}
    return lambda row: (places.get(row.network, len(places)), -row.valid_roc_auc)


def _numbers(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    artist = row.by_artist or ("", "")
    told = (row.name, row.seeds, row.epochs, row.paper_auc, row.test_roc_auc, row.spread, low, high, *artist)
    cells = (*told, row.test_pr_auc, row.valid_roc_auc, " ".join(row.signatures))
    return tuple("" if each is None else str(each) for each in cells)


def _printed(row: Row) -> tuple[str, ...]:
    low, high = row.by_artist or row.interval
    deviation = "" if row.spread is None else f" ± {row.spread:.4f}"
    return (
        row.name,
        "" if row.paper_auc is None else f"{row.paper_auc:.4f}",
        f"{row.test_roc_auc:.4f}{deviation}",
        f"{low:.3f}-{high:.3f}",
        f"{row.test_pr_auc:.4f}",
        f"{row.valid_roc_auc:.4f}",
        str(row.seeds),
    )


def _tag_cells(ended: Sequence[Ended], board: Sequence[Row], written: Callable[[float], str]) -> Cells:
    """A row for each tag: its test clips, and each network's mean AUC over its seeds; empty where there is none."""
    results = {result["signature"]: result for result, _ in ended}
    columns = [[results[signature]["tags"] for signature in row.signatures] for row in board]
    cells: Cells = [("tag", "clips", *(row.name for row in board))]
    for at, tag in enumerate(columns[0][0]):
        aucs = [[seed[at]["roc_auc"] for seed in seeds] for seeds in columns]
        means = ["" if None in values else written(mean(values)) for values in aucs]
        cells.append((tag["tag"], str(tag["positives"]), *means))
    return cells


def _csv(cells: Cells, protocol: str) -> str:
    """The protocol is left out: programs would take it for a row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _markdown(cells: Cells, protocol: str) -> str:
    titles, *body = cells
    rows = [titles, ("---", *["---:"] * (len(titles) - 1)), *body]
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", f"{protocol}.", ""])


def _latex(cells: Cells, protocol: str) -> str:
    titles, *body = (" & ".join(map(_in_latex, row)) + r" \\" for row in cells)
    begin = rf"\begin{{tabular}}{{l{'r' * (len(cells[0]) - 1)}}}"
    lines = [begin, r"\toprule", titles, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {protocol}", *lines, ""])


def _in_latex(cell: str) -> str:
    return INTERVAL.sub(r"\1--\2", cell.translate(LATEX)).replace("±", r"$\pm$")


WRITERS: dict[str, Callable[[Cells, str], str]] = {"csv": _csv, "latex": _latex, "markdown": _markdown}


def _write(text: str, out: str | None) -> None:
    if out is None:
        print(text, end="")
        return
    try:
        with written_whole(Path(out)) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SearchError(f"out={out} can't be written: {error.strerror}") from error
    print(f"written to {out}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
