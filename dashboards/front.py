"""AUC against multiply-adds, and the Pareto front: networks that no other one beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from dashboards import figures
from dashboards.blocks import Figure
from dashboards.measured import entry_of
from dashboards.reading import Trial
from search.scoring import scores
from search.scoring.resamples import ARTIST, CLIP
from search.study.objectives import unbeaten

MOST_BARS = 60


@dataclass(frozen=True)
class Spot:
    """A network. multiply_adds: of a segment's forward pass. auc, low, high: of the validation clips, over seeds."""

    name: str
    multiply_adds: int
    auc: float
    low: float
    high: float


def spots(done: Sequence[Trial], names: Mapping[str, str]) -> tuple[list[Spot], int]:
    """The networks of trainings that have ended, and how many more have no known cost. names: by signature."""
    groups: dict[str, list[Trial]] = {}
    for trial in done:
        groups.setdefault(trial.record.point, []).append(trial)
    # A cost that would have to be counted on the built network takes torch and seconds.
    known = [group for group in groups.values() if entry_of(group[0].record.settings).costs_are_known]
    return [_spot(group, names[group[0].record.signature]) for group in known], len(groups) - len(known)


def _spot(group: Sequence[Trial], name: str) -> Spot:
    results = [each.result for each in group if each.result is not None]
    values = [found["valid"]["roc_auc"] for found in results]
    sure = [
        scores.interval(found["valid"], ARTIST) or scores.interval(found["valid"], CLIP) for found in results
    ]
    ends = [(each.low, each.high) for each in sure if each is not None] or [
        (value, value) for value in values
    ]
    cost = entry_of(group[0].record.settings).cost(len(results[0]["tags"]))
    low, high = (fmean(end) for end in zip(*ends, strict=True))
    return Spot(name.partition(" seed ")[0], cost.multiply_adds, fmean(values), low, high)


def figure(found: Sequence[Spot], protocol: str) -> Figure:
    """The picture: the front in a line, what is beaten as open circles."""
    kept = unbeaten([(each.auc, each.multiply_adds) for each in found], (1, -1))
    front = sorted(
        (each for each, on in zip(found, kept, strict=True) if on), key=lambda each: each.multiply_adds
    )
    beaten = [each for each, on in zip(found, kept, strict=True) if not on]
    first = {
        **_points("Pareto front", front, 0),
        "mode": "lines+markers",
        "line": {"color": figures.COLOURS[0], "shape": "hv"},
    }
    traces = [first, {**_points("beaten by another one", beaten, 1), "mode": "markers"}]
    layout = {
        "xaxis": figures.axis("multiply-adds a segment (millions)", type="log"),
        "yaxis": figures.axis("valid ROC-AUC"),
    }
    caption = (
        "Macro ROC-AUC of the validation clips (95 % interval, by artist where known) against the cost of a network's "
        f"forward pass over one segment. {protocol}"
    )
    return Figure("front", traces, layout, caption, height_px=420)


def _points(name: str, found: Sequence[Spot], number: int) -> dict[str, Any]:
    values = [each.auc for each in found]
    colour = figures.COLOURS[number]
    bars = figures.whiskers(values, [each.low for each in found], [each.high for each in found])
    crowded = len(found) > MOST_BARS  # whiskers of so many hide one another, and all else
    return {
        "type": "scatter",
        "name": name,
        "x": [each.multiply_adds / 1e6 for each in found],
        "y": values,
        "text": [figures.plain(each.name) for each in found],
        "error_y": {**bars, "color": colour, "thickness": 1, "visible": not crowded},
        "marker": {"color": colour, "symbol": ("circle", "diamond-open")[number], "size": 8},
        "hovertemplate": "%{text}<br>%{x:,.1f} M, %{y:.4f}<extra></extra>",
    }
