"""Learning curves: validation AUC and loss of each epoch, with the stages of the schedule marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards import figures
from dashboards.blocks import Figure
from dashboards.reading import Trial

MOST = 10  # lines that an eye can follow
MOST_TICKS = 12
STAGE, WITHIN = 11, 5  # sizes of the marker of an epoch that begins a stage, and of the others


def figure(trials: Sequence[Trial], names: Mapping[str, str], protocol: str) -> Figure:
    """The picture; a single trial also gets a line with the learning rate at each stage."""
    traces = []
    for number, trial in enumerate(trials):
        name = figures.plain(names[trial.record.signature])
        traces.append({**_line(trial, number, "valid_roc_auc", name), "yaxis": "y"})
        traces.append({**_line(trial, number, "valid_loss", name), "yaxis": "y2", "showlegend": False})
    layout: dict[str, Any] = {
        "xaxis": figures.axis("epoch", anchor="y2", rangemode="tozero"),
        "yaxis": figures.axis("valid ROC-AUC", domain=[0.54, 1]),
        "yaxis2": figures.axis("valid loss (nats)", domain=[0, 0.46]),
        "legend": {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0},
    }
    if max((row["epoch"] for trial in trials for row in trial.epochs), default=0) <= MOST_TICKS:
        layout["xaxis"]["dtick"] = 1  # there is no half an epoch
    if len(trials) == 1:
        layout |= _stages(trials[0])
    caption = (
        "Macro ROC-AUC and binary cross-entropy of the validation clips over the epochs; a large marker begins a "
        f"stage, that is a lower learning rate. {protocol}"
    )
    return Figure("curves", traces, layout, caption, height_px=560 + 12 * len(trials), least_width_px=520)


def _line(trial: Trial, number: int, key: str, name: str) -> dict[str, Any]:
    look = figures.style(number)
    starts = _starts(trial)
    sizes = [STAGE if row["epoch"] in starts else WITHIN for row in trial.epochs]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": trial.record.signature,
        "x": [row["epoch"] for row in trial.epochs],
        "y": [figures.finite(row[key]) for row in trial.epochs],
        "text": [f"stage {row['stage'] + 1}" for row in trial.epochs],
        "hovertemplate": f"{name}<br>epoch %{{x}}, %{{text}}: %{{y:.4f}}<extra></extra>",
        **look,
        "marker": {**look["marker"], "size": sizes},
    }


def _starts(trial: Trial) -> dict[int, Mapping[str, Any]]:
    """The first epoch of each stage, with its row."""
    found: dict[int, Mapping[str, Any]] = {}
    for row in trial.epochs:
        found.setdefault(row["stage"], row)
    return {row["epoch"]: row for row in found.values()}


def _stages(trial: Trial) -> dict[str, Any]:
    """A vertical line at each stage, with its learning rate above."""
    starts = _starts(trial)
    edges = {"type": "line", "yref": "paper", "y0": 0, "y1": 1}
    shapes = [
        {**edges, "x0": at, "x1": at, "line": {"dash": "dot", "width": 1, "color": "#888888"}}
        for at in starts
    ]
    notes = [
        {
            "x": at,
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
            "text": f"stage {row['stage'] + 1}"
            + (f"<br>rate {row['learning_rate']:g}" if "learning_rate" in row else ""),
        }
        for at, row in starts.items()
    ]
    return {"shapes": shapes, "annotations": notes, "margin": {"t": 56}}
