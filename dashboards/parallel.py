"""Parallel coordinates: a line for each training through all settings that differ, to the AUC that came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dashboards import figures
from dashboards.blocks import Figure
from dashboards.columns import Column, short
from search.checks import is_number

MOST_TICKS = 12
WIDE = 8  # a setting whose largest value is so many times its smallest is shown on a scale of log2
LACKING = "none"


def figure(varied: Sequence[Column], aucs: Sequence[float], protocol: str) -> Figure:
    """The picture. aucs: valid ROC-AUC of each training."""
    last = {"label": "valid ROC-AUC", "values": list(aucs), "tickformat": ".3f"}
    trace = {
        "type": "parcoords",
        "dimensions": [*(dimension(each) for each in varied), last],
        "line": {
            "color": list(aucs),
            "colorscale": [list(end) for end in figures.LINES],
            "showscale": True,
            "colorbar": {"title": {"text": "valid ROC-AUC"}},
        },
    }
    caption = (
        f"Every line is a training: the settings that differ, and the macro ROC-AUC of the validation clips that came "
        f'of them. "{LACKING}": the network has no such setting. {protocol}'
    )
    wide = 110 * (len(varied) + 1) + 120
    return Figure("parallel", [trace], {"margin": {"t": 70, "b": 30, "l": 70, "r": 30}}, caption, 460, wide)


def dimension(column: Column) -> dict[str, Any]:
    """An axis: numbers in their place, on log2 where they span much; words in their order."""
    known = [value for value in column.values if value is not None]
    numeric = all(is_number(value) for value in known)
    scale = _log2 if numeric and min(known) > 0 and max(known) / min(known) >= WIDE else float
    words = [] if numeric else sorted({str(value) for value in known})
    places = [_place(value, words, scale) for value in column.values]
    ticks = _ticks(known, scale) if numeric else list(enumerate(words))
    low, high = min(place for place, _ in ticks), max(place for place, _ in ticks)
    bottom = low - max(high - low, 1.0) / 8
    if None in places:
        ticks = [(bottom, LACKING), *ticks]
    return {
        "label": figures.plain(column.name),
        "values": [bottom if place is None else place for place in places],
        "tickvals": [place for place, _ in ticks],
        "ticktext": [figures.plain(text) for _, text in ticks],
        "range": [ticks[0][0], max(high, ticks[0][0] + 1e-9)],
    }


def _log2(value: float) -> float:
    return math.log2(value)


def _place(value: Any, words: Sequence[str], scale: Any) -> float | None:
    if value is None:
        return None
    return float(words.index(str(value))) if words else scale(value)


def _ticks(known: Sequence[float], scale: Any) -> list[tuple[float, str]]:
    """The values themselves while they are few, else some between the ends."""
    values = sorted(set(known))
    if len(values) > MOST_TICKS:
        step = (len(values) - 1) / (MOST_TICKS - 1)
        values = [values[round(at * step)] for at in range(MOST_TICKS)]
    return [(scale(value), short(value)) for value in values]
