"""The two pictures of a leaderboard: every row with its interval, and every tag of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from dashboards import figures
from dashboards.blocks import Figure
from search.results.leaderboard import Row

MOST_COLUMNS = 30  # of the heat map: of more, none could be read
LONGEST = 44  # characters of a row's name beside an axis


def dots(board: Sequence[Row], protocol: str) -> Figure:
    """Test AUC of each row with both intervals, best by the validation clips at the top; ties share a band."""
    places = list(range(len(board)))
    values = [row.test_roc_auc for row in board]
    wide, known = [row.by_artist or row.interval for row in board], any(row.by_artist for row in board)
    traces = [_dots("95 % by artist" if known else "95 % by clip", values, places, wide, 0)]
    if known:
        narrow = _dots("95 % by clip", values, places, [row.interval for row in board], 1)
        traces.append({**narrow, "marker": {**narrow["marker"], "symbol": "line-ns-open", "size": 9}})
    layout = {
        "xaxis": figures.axis("test ROC-AUC"),
        "yaxis": figures.axis(
            "rank and network",
            tickvals=places,
            ticktext=[_label(row) for row in board],
            range=[len(board) - 0.5, -0.5],
            showgrid=False,
        ),
        "shapes": _bands(board),
    }
    caption = (
        "Macro ROC-AUC of the test clips with 95 % intervals. Rows in one band are not told apart by the validation "
        f"clips. {protocol}."
    )
    return Figure("dots", traces, layout, caption, height_px=150 + 24 * len(board), least_width_px=480)


def _dots(
    name: str,
    values: Sequence[float],
    places: Sequence[int],
    ends: Sequence[tuple[float, float]],
    number: int,
) -> dict[str, Any]:
    bars = figures.whiskers(values, [low for low, _ in ends], [high for _, high in ends])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(values),
        "y": list(places),
        "error_x": {**bars, "color": figures.COLOURS[number]},
        "marker": {"color": figures.COLOURS[number], "symbol": "circle", "size": 9 - 3 * number},
        "hovertemplate": f"%{{x:.4f}}<extra>{name}</extra>",
    }


def _label(row: Row) -> str:
    name = row.name if len(row.name) <= LONGEST else f"{row.name[: LONGEST - 1]}…"
    return figures.plain(f"{row.rank or '-'}  {name}")


def _bands(board: Sequence[Row]) -> list[dict[str, Any]]:
    """A grey band behind every second group of ties."""
    found, first = [], 0
    for number, (_, group) in enumerate(groupby(board, key=lambda row: row.rank)):
        last = first + len(list(group))
        if number % 2 == 0:
            edges = {"y0": first - 0.5, "y1": last - 0.5, "x0": 0, "x1": 1, "xref": "paper"}
            look = {"layer": "below", "line": {"width": 0}, "fillcolor": "rgba(128, 128, 128, 0.13)"}
            found.append({"type": "rect", **look, **edges})
        first = last
    return found


def heat(board: Sequence[Row], results: Mapping[str, Mapping[str, Any]], protocol: str) -> Figure:
    """Tags by rows: the test AUC of each tag, means over the seeds. results: by signature."""
    shown = board[:MOST_COLUMNS]
    scored = [_tags(row, results) for row in shown]
    support = {tag["tag"]: tag["positives"] for tag in results[shown[0].signature]["tags"]}
    tags = sorted(support, key=lambda tag: (-support[tag], tag))
    labels = [f"{figures.plain(tag)} ({support[tag]:,})" for tag in tags]
    trace = {
        "type": "heatmap",
        "x": list(range(len(shown))),
        "y": list(range(len(tags))),
        "z": [[row.get(tag) for row in scored] for tag in tags],
        "colorscale": figures.SCALE,
        "colorbar": {"title": {"text": "ROC-AUC"}},
        "xgap": 1,
        "ygap": 1,
        "text": [[f"{label}<br>{_label(row)}" for row in shown] for label in labels],
        "hovertemplate": "%{text}<br>%{z:.4f}<extra></extra>",
    }
    layout = {
        "xaxis": figures.axis(
            "rank and network", tickvals=trace["x"], ticktext=[_label(row) for row in shown], tickangle=-60
        ),
        "yaxis": figures.axis(
            "tag (test clips that carry it)", tickvals=trace["y"], ticktext=labels, autorange="reversed"
        ),
    }
    more = f" The first {MOST_COLUMNS} of {len(board)} rows." if len(board) > MOST_COLUMNS else ""
    caption = (
        "ROC-AUC of each tag on the test clips, the most frequent tags at the top; empty where the clips have one "
        f"class only.{more} {protocol}."
    )
    return Figure("tags", [trace], layout, caption, height_px=320 + 17 * len(tags), least_width_px=420)


def _tags(row: Row, results: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """The AUC of each tag; None where one of the seeds has none."""
    of_seeds: dict[str, list[float | None]] = {}
    for signature in row.signatures:
        for tag in results[signature]["tags"]:
            of_seeds.setdefault(tag["tag"], []).append(tag["roc_auc"])
    known = {tag: [value for value in values if value is not None] for tag, values in of_seeds.items()}
    return {tag: fmean(known[tag]) if len(known[tag]) == len(of_seeds[tag]) else None for tag in of_seeds}
