"""AUC over depth for each m of Table 2: the paper's and ours, as small pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards import figures
from dashboards.blocks import Figure
from dashboards.tables import Half
from search.results.leaderboard import Row
from search.scoring.intervals import Interval
from search.scoring.literature import TEST_CLIPS

COLUMNS, GAP_X, GAP_Y = 2, 0.1, 0.14  # of the whole picture


def figure(pairs: Sequence[tuple[Half, Half]], ours: Mapping[str, Row], protocol: str = "") -> Figure:
    """The picture. ours: by network; where a network has not run there is no point."""
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"annotations": [], "margin": {"t": 60}}
    for at, pair in enumerate(pairs):
        x, y = _place(at, -(-len(pairs) // COLUMNS))
        layout[f"xaxis{_suffix(at)}"] = figures.axis(
            "depth n (modules)", domain=x, anchor=f"y{_suffix(at)}", dtick=1
        )
        layout[f"yaxis{_suffix(at)}"] = figures.axis("test ROC-AUC", domain=y, anchor=f"x{_suffix(at)}")
        layout["annotations"].append(_title(f"m = {pair[0].m}", x, y))
        for length, half in enumerate(pair):
            traces += [_papers(half, length, at), *_ours(half, length, at, ours)]
    named: set[str] = set()
    for trace in traces:  # one entry in the legend for all small pictures: of the first that has a point
        trace["showlegend"] = bool(trace["x"]) and trace["legendgroup"] not in named
        named |= {trace["legendgroup"]} if trace["x"] else set()
    caption = (
        "AUC over depth for each m of Table 2, by input: the paper's (dashed, open) and ours (filled, with 95 % "
        f"intervals). The paper's are of MTAT's {TEST_CLIPS['mtat', 'paper']:,} test clips.{protocol}"
    )
    return Figure("depth", traces, layout, caption, height_px=680, least_width_px=560)


def _suffix(at: int) -> str:
    return "" if at == 0 else str(at + 1)


def _place(at: int, rows: int) -> tuple[list[float], list[float]]:
    """The domains of a small picture, from the upper left."""
    row, column = divmod(at, COLUMNS)
    width, height = (1 - GAP_X * (COLUMNS - 1)) / COLUMNS, (1 - GAP_Y * (rows - 1)) / rows
    left, top = column * (width + GAP_X), 1 - row * (height + GAP_Y)
    return [round(left, 4), round(left + width, 4)], [round(top - height, 4), round(top, 4)]


def _title(text: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    place = {"x": (x[0] + x[1]) / 2, "y": y[1], "xref": "paper", "yref": "paper"}
    return {"text": text, **place, "showarrow": False, "yanchor": "bottom", "xanchor": "center"}


def _papers(half: Half, length: int, at: int) -> dict[str, Any]:
    return {
        **_trace(f"paper, {('shorter', 'longer')[length]} input", length, at),
        "x": [line.n for line in half.lines],
        "y": [line.published.auc for line in half.lines],
        "mode": "lines+markers",
        "line": {"color": figures.COLOURS[length], "dash": "dash", "width": 1.5},
        "marker": {**_marker(length), "symbol": f"{figures.MARKERS[length]}-open"},
        "hovertemplate": f"n = %{{x}}, {half.input_samples:,} samples<br>paper %{{y:.4f}}<extra></extra>",
    }


def _ours(half: Half, length: int, at: int, ours: Mapping[str, Row]) -> list[dict[str, Any]]:
    known = [(line.n, ours[line.entry.name]) for line in half.lines if line.entry.name in ours]
    sure = [Interval(*(row.by_artist or row.interval)) for _, row in known]
    values = [row.test_roc_auc for _, row in known]
    return [
        {
            **_trace(f"ours, {('shorter', 'longer')[length]} input", 2 + length, at),
            "x": [n for n, _ in known],
            "y": values,
            "mode": "lines+markers",
            "line": {"color": figures.COLOURS[length], "width": 2},
            "marker": {**_marker(length), "symbol": figures.MARKERS[length]},
            "error_y": figures.whiskers(values, [each.low for each in sure], [each.high for each in sure]),
            "hovertemplate": f"n = %{{x}}, {half.input_samples:,} samples<br>ours %{{y:.4f}}<extra></extra>",
        }
    ]


def _trace(name: str, group: int, at: int) -> dict[str, Any]:
    axes = {"xaxis": f"x{_suffix(at)}", "yaxis": f"y{_suffix(at)}"}
    return {"type": "scatter", "name": name, "legendgroup": str(group), **axes}


def _marker(length: int) -> dict[str, Any]:
    return {"color": figures.COLOURS[length], "size": 8}
