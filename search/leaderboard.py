"""What a search found: one row per network, ranked by what it scored on the validation clips.

The test clips take no part in the ranking, so their scores stay honest. All rows are of one protocol.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from rich.table import Table

import zoo
from search import files
from search.protocol import check_same, describe
from search.settings import Training, TrialSettings, digest

COLUMNS = (
    "rank",
    "network",
    "test AUC",
    "95% interval",
    "paper (MTAT)",
    "PR-AUC",
    "valid AUC",
    "epochs",
    "seeds",
)
LEFT = ("network",)
Ended = tuple[Mapping[str, Any], TrialSettings]


@dataclass(frozen=True)
class Row:
    """A network with options and training: means over its seeds, of its scores and of the ends of their intervals.

    signature: of the seed that scored best on the validation clips; its weights are the row's.
    """

    network: str
    changed: Mapping[str, Any]
    test_roc_auc: float
    interval: tuple[float, float]
    test_pr_auc: float
    valid_roc_auc: float
    epochs: float
    seeds: int
    paper_auc: float | None
    signature: str

    @property
    def name(self) -> str:
        """The network, with the options that are not its own defaults, and what of the training was varied."""
        return self.network + "".join(f" {key}={value}" for key, value in self.changed.items())


def ended(settings: Iterable[TrialSettings]) -> list[Ended]:
    """The trials with their results; those whose folder is gone are left out."""
    found = [(files.read_result(each.signature()), each) for each in settings]
    return [(result, each) for result, each in found if result]


def rows(trials: Sequence[Ended], table: str | None) -> list[Row]:
    """The leaderboard of ended trials, best first.

    trials: results with the settings they belong to. table: whose published AUCs stand beside.
    raises: SearchError, which names what differs, if the results are of several protocols.
    """
    check_same(result["protocol"] for result, _ in trials)
    groups: dict[str, list[Ended]] = {}
    for result, settings in trials:
        record = {key: value for key, value in settings.to_json().items() if key != "seed"}
        groups.setdefault(digest(record), []).append((result, settings))
    varied = _varied([settings.training for _, settings in trials])
    return sorted(
        (_row(group, table, varied) for group in groups.values()), key=lambda row: -row.valid_roc_auc
    )


def _varied(trainings: Sequence[Training]) -> list[str]:
    """The fields of the training that are not the same everywhere."""
    return [name for name in vars(Training()) if len({getattr(each, name) for each in trainings}) > 1]


def _row(group: list[Ended], table: str | None, varied: Sequence[str]) -> Row:
    results = [result for result, _ in group]
    best, settings = max(group, key=lambda pair: pair[0]["valid"]["roc_auc"])
    entry = zoo.entry(settings.network)
    published = [row.auc for row in entry.paper if row.table == table and row.dataset == "mtat"]
    return Row(
        network=settings.network,
        changed={
            **{
                name: _short(value)
                for name, value in entry.with_options(**settings.options).overrides.items()
            },
            **{name: _short(getattr(settings.training, name)) for name in varied},
        },
        test_roc_auc=_mean(results, "test", "roc_auc"),
        interval=(_mean(results, "test", "roc_auc_low"), _mean(results, "test", "roc_auc_high")),
        test_pr_auc=_mean(results, "test", "pr_auc"),
        valid_roc_auc=_mean(results, "valid", "roc_auc"),
        epochs=mean(result["epochs"] for result in results),
        seeds=len(group),
        paper_auc=published[0] if published else None,
        signature=best["signature"],
    )


def _short(value: Any) -> str:
    """A setting in few characters: of several rates the first, which the others follow."""
    if isinstance(value, tuple):
        return _short(value[0])
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _mean(results: Sequence[Mapping[str, Any]], split: str, score: str) -> float:
    return mean(result[split][score] for result in results)


def cells(board: Iterable[Row]) -> list[tuple[str, ...]]:
    """The rows as text, in the order of COLUMNS."""
    return [
        (
            str(rank),
            row.name,
            f"{row.test_roc_auc:.4f}",
            f"{row.interval[0]:.3f}-{row.interval[1]:.3f}",
            "" if row.paper_auc is None else f"{row.paper_auc:.4f}",
            f"{row.test_pr_auc:.4f}",
            f"{row.valid_roc_auc:.4f}",
            f"{row.epochs:g}",
            str(row.seeds),
        )
        for rank, row in enumerate(board, 1)
    ]


def as_table(board: Iterable[Row]) -> Table:
    """For a terminal."""
    table = Table(box=None, pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, justify="left" if title in LEFT else "right", overflow="fold")
    for row in cells(board):
        table.add_row(*row)
    return table


def as_markdown(board: Iterable[Row], protocol: Mapping[str, Any], budget: str, command: str) -> str:
    """For a file: the table with all that its numbers mean."""
    lines = [f"Command: `{command}`", "", f"Protocol: {describe(protocol)}.", f"Budget: {budget}.", ""]
    lines += [
        f"| {' | '.join(COLUMNS)} |",
        "|" + "".join(" --- |" if t in LEFT else " ---: |" for t in COLUMNS),
    ]
    lines += [f"| {' | '.join(row)} |" for row in cells(board)]
    return "\n".join([*lines, ""])
