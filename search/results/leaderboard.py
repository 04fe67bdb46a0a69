"""What a search found: one row per network, ranked by what it scored on the validation clips.

The test clips take no part in the ranking, so their scores stay honest. All rows are of one protocol. Rows that the
validation clips can't tell apart share a rank.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
from rich.table import Table

import zoo
from search import files
from search.scoring import intervals, literature, resamples, scores
from search.scoring.intervals import Interval
from search.scoring.protocol import check_same, describe
from search.scoring.resamples import ARTIST, CLIP, Resampled
from search.settings import Training, TrialSettings

COLUMNS = (
    "rank",
    "network",
    "test AUC",
    "95% interval",
    "by artist",
    "paper",
    "PR-AUC",
    "unseen artist",
    "twin-free",
    "valid AUC",
    "epochs",
    "seeds",
    "spread",
    "trial",
)
HOW_TO_READ = (
    "Ranked by the validation clips; a row that they can't tell from the first of a rank shares it (paired bootstrap, "
    "over artists where they are known, all pairs corrected at once, 5 %). One without a rank lacks the scores of its "
    "clips, or has those of other resamples.",
    "Intervals are 95 %, by bootstrap over the test clips, and by artist over their artists; spread is the deviation "
    "of the test AUC over the seeds; trial is the signature of the seed that scored best on the validation clips.",
)
LEFT = ("network", "trial")
Ended = tuple[Mapping[str, Any], TrialSettings]


@dataclass(frozen=True)
class Row:
    """A network with options and training: means over its seeds, of its scores and of the ends of their intervals.

    signature:  of the seed that scored best on the validation clips; its weights are the row's.
    interval, by_artist: of the test AUC, over clips and over artists; None where the artists are not known.
    paper_lies: where the published AUC lies: within, above or below our interval; "" where the two don't compare.
    spread:     the deviation of the test AUC over the seeds; None for one seed.
    subsets:    test AUC over parts of the clips, by name.
    signatures: of all seeds.
    rank:       from 1; the same for rows that can't be told apart; 0 where that is not known.
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
    by_artist: tuple[float, float] | None = None
    paper_lies: str = ""
    spread: float | None = None
    subsets: Mapping[str, float] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()
    rank: int = 0

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

    table:  of the paper, whose numbers stand beside ours; None for none.
    raises: SearchError, which names what differs, if the results are of several protocols.
    """
    return ranked(unranked(trials, table))


def unranked(trials: Sequence[Ended], table: str | None) -> list[Row]:
    """The same, best first by the validation clips, before anyone has asked which of them differ."""
    check_same(result["protocol"] for result, _ in trials)
    groups: dict[str, list[Ended]] = {}
    for result, settings in trials:
        groups.setdefault(settings.point(), []).append((result, settings))
    varied = _varied([settings.training for _, settings in trials])
    return sorted(
        (_row(group, table, varied) for group in groups.values()), key=lambda row: -row.valid_roc_auc
    )


def ranked(board: Sequence[Row], kept: Callable[[str], Resampled | None] = resamples.of_trial) -> list[Row]:
    """Rows in their order with ranks; all pairs of these rows are tested at once.

    A row whose resamples are not there, or are others than those of most rows, stays without a rank.

    kept: the resamples of a trial by its signature.
    """
    found = [[kept(signature) for signature in row.signatures] for row in board]
    known = Counter(draws for each in found if (draws := _draws(each)))
    usual = known.most_common(1)[0][0] if known else ""
    able = [at for at, each in enumerate(found) if usual and _draws(each) == usual]
    apart = _told_apart([board[at] for at in able], [[one for one in found[at] if one] for at in able])
    ranks = dict(zip(able, _ranks(apart), strict=True))
    return [replace(row, rank=ranks.get(at, 0)) for at, row in enumerate(board)]


def _draws(row: Sequence[Resampled | None]) -> str:
    """What tells the resamples of a row's seeds from others; "" where one is not kept, or is of other draws."""
    draws = {json.dumps(each.draws, sort_keys=True) if each else "" for each in row}
    return draws.pop() if len(draws) == 1 else ""


def _told_apart(board: Sequence[Row], kept: Sequence[Sequence[Resampled]]) -> np.ndarray:
    """(rows, rows): which pairs the validation clips tell apart. kept: of each row's seeds, all on the same draws."""
    apart = np.zeros((len(board), len(board)), dtype=bool)
    if len(board) < 2:
        return apart
    unit = kept[0][0].deciding("valid")
    left, right = np.triu_indices(len(board), 1)
    apart[left, right] = intervals.told_apart(
        np.array([row.valid_roc_auc for row in board]),
        np.array([np.mean([each.values[f"valid.{unit}.roc_auc"] for each in row], axis=0) for row in kept]),
        left,
        right,
        kept[0][0].groups[f"valid.{unit}"],
    )
    return apart


def _ranks(apart: np.ndarray) -> list[int]:
    """Of rows in their order: a row that can't be told from the first of a rank shares it."""
    ranks: list[int] = []
    first = 0
    for at in range(len(apart)):
        if apart[first, at]:
            first = at
        ranks.append(first + 1)
    return ranks


def _varied(trainings: Sequence[Training]) -> list[str]:
    """The fields of the training that are not the same everywhere."""
    return [name for name in vars(Training()) if len({getattr(each, name) for each in trainings}) > 1]


def _row(group: list[Ended], table: str | None, varied: Sequence[str]) -> Row:
    results = [result for result, _ in group]
    best, settings = max(group, key=lambda pair: pair[0]["valid"]["roc_auc"])
    entry = zoo.entry(settings.network)
    options = entry.with_options(**settings.options).overrides
    by_clip, by_artist = (_mean_interval(results, unit) for unit in (CLIP, ARTIST))
    assert by_clip is not None
    paper = literature.published(settings.network, table, best["protocol"]["dataset"])
    return Row(
        network=settings.network,
        changed={
            **{name: _short(value) for name, value in options.items()},
            **{name: _short(getattr(settings.training, name)) for name in varied},
        },
        test_roc_auc=_mean(results, "test", "roc_auc"),
        interval=by_clip,
        test_pr_auc=_mean(results, "test", "pr_auc"),
        valid_roc_auc=_mean(results, "valid", "roc_auc"),
        epochs=mean(result["epochs"] for result in results),
        seeds=len(group),
        paper_auc=paper.auc if paper else None,
        signature=best["signature"],
        by_artist=by_artist,
        paper_lies=literature.lies(paper, best["protocol"], Interval(*(by_artist or by_clip)))
        if paper
        else "",
        spread=stdev(result["test"]["roc_auc"] for result in results) if len(group) > 1 else None,
        subsets=_subsets(results),
        signatures=tuple(result["signature"] for result in results),
    )


def _mean_interval(results: Sequence[Mapping[str, Any]], unit: str) -> tuple[float, float] | None:
    """The mean ends over the seeds; None where one has none."""
    found = [scores.interval(result["test"], unit) for result in results]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return mean(each.low for each in known), mean(each.high for each in known)


def _subsets(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    parts = [result.get("subsets", {}) for result in results]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: mean(part[name]["roc_auc"] for part in parts) for name in names}


def _short(value: Any) -> str:
    """A setting in few characters: of several rates the first, which the others follow."""
    if isinstance(value, tuple):
        return _short(value[0])
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _mean(results: Sequence[Mapping[str, Any]], split: str, score: str) -> float:
    return mean(result[split][score] for result in results)


def cells(board: Iterable[Row]) -> list[tuple[str, ...]]:
    """The rows as text, in the order of COLUMNS; empty where a row has nothing to say."""
    return [
        (
            str(row.rank or ""),
            row.name,
            f"{row.test_roc_auc:.4f}",
            _interval(row.interval),
            _interval(row.by_artist),
            " ".join([_number(row.paper_auc), row.paper_lies]).strip(),
            f"{row.test_pr_auc:.4f}",
            _number(row.subsets.get("unseen_artist")),
            _number(row.subsets.get("twin_free")),
            f"{row.valid_roc_auc:.4f}",
            f"{row.epochs:g}",
            str(row.seeds),
            _number(row.spread),
            row.signature,
        )
        for row in board
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f}-{ends[1]:.3f}"


def shown(board: Iterable[Row]) -> list[tuple[str, ...]]:
    """Titles and rows as text, without the columns that no row fills."""
    whole = [COLUMNS, *cells(board)]
    used = [at for at, cell in enumerate(zip(*whole[1:], strict=True)) if any(cell)]
    return [tuple(row[at] for at in used) for row in whole]


def as_table(board: Iterable[Row]) -> Table:
    """For a terminal."""
    titles, *body = shown(board)
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in LEFT else "right", overflow="fold")
    for row in body:
        table.add_row(*row)
    return table


def as_markdown(board: Iterable[Row], protocol: Mapping[str, Any], budget: str, command: str) -> str:
    """For a file: the table with all that its numbers mean."""
    titles, *body = shown(board)
    lines = [f"Command: `{command}`", "", f"Protocol: {describe(protocol)}.", f"Budget: {budget}."]
    lines += [*HOW_TO_READ, ""]
    lines += [
        f"| {' | '.join(titles)} |",
        "|" + "".join(" --- |" if t in LEFT else " ---: |" for t in titles),
    ]
    lines += [f"| {' | '.join(row)} |" for row in body]
    return "\n".join([*lines, ""])
