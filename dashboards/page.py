"""One self-contained page of all searches: leaderboards beside the paper, and learning curves. Opens from disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from search import files, leaderboard, ledger
from search.protocol import describe
from search.settings import SearchError

WIDTH, HEIGHT, EDGE = 320, 120, 4  # of a curve's picture, in its own units


@dataclass(frozen=True)
class Shown:
    """A search as the page shows it. curves: of each row of the board, in its order."""

    name: str
    about: ledger.About
    protocol: str
    cells: Sequence[tuple[str, ...]]
    curves: Sequence[tuple[str, str]]


def gather(storage: str | None = None) -> list[Shown]:
    """Every search with results, newest first. storage: a ledger's URL; None for the file under WAVEZOO_HOME."""
    shown = []
    for recorded in ledger.read_studies(storage):
        trials = leaderboard.ended(recorded.trials)
        if not trials:
            continue
        try:
            board = leaderboard.rows(trials, recorded.about.paper_table)
        except SearchError as error:
            raise SearchError(f"{recorded.name}: {error}") from error
        shown.append(
            Shown(
                name=recorded.name,
                about=recorded.about,
                protocol=describe(trials[0][0]["protocol"]),
                cells=leaderboard.cells(board),
                curves=[(row.name, polyline(files.read_epochs(row.signature))) for row in board],
            )
        )
    return shown[::-1]


def polyline(epochs: Sequence[dict[str, Any]]) -> str:
    """Validation ROC-AUC over the epochs as points of an SVG polyline: 0.5 at the bottom, 1 at the top."""
    step = (WIDTH - 2 * EDGE) / max(len(epochs) - 1, 1)
    heights = [min(max((row["valid_roc_auc"] - 0.5) / 0.5, 0.0), 1.0) for row in epochs]
    points = [
        (EDGE + at * step, HEIGHT - EDGE - height * (HEIGHT - 2 * EDGE)) for at, height in enumerate(heights)
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def render(shown: Sequence[Shown]) -> str:
    """The page as HTML without a script or an address. Names come from files and databases: all are escaped."""
    templates = Environment(
        loader=PackageLoader("dashboards", "templates"), autoescape=True, undefined=StrictUndefined
    )
    page = templates.get_template("searches.html")
    return page.render(searches=shown, columns=leaderboard.COLUMNS, width=WIDTH, height=HEIGHT)
