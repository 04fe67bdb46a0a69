"""What all figures share: colours, marks that need no colour, axes with units, and text that stays text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

# Okabe and Ito's colours, which the colour-blind tell apart; without black and yellow, which a page may be made of.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SCALE = "Cividis"  # from dark to light for everyone, and in print
LINES = ((0, COLOURS[0]), (1, COLOURS[4]))  # the same for thin lines, which show on light and dark pages
AUC = "ROC-AUC"

Axis = dict[str, Any]


def plain(text: object) -> str:
    """Text for any label of a figure: Plotly reads tags such as <a> and <b> in its texts, and here they stay text."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def finite(value: float) -> float | None:
    """None for what is no number, such as the loss of a training that diverged: a figure has a gap there."""
    return value if math.isfinite(value) else None


def style(number: int) -> dict[str, Any]:
    """Line and marker of the so-many-th series: no two of the first thirty look alike, in print neither."""
    colour = COLOURS[number % len(COLOURS)]
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    return {
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "symbol": MARKERS[number % len(MARKERS)], "size": 7},
    }


def axis(title: str, **more: Any) -> Axis:
    """An axis. title: what it shows, with its unit. more: in Plotly's words."""
    return {"title": {"text": title}, "automargin": True, **more}


def whiskers(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    """Error bars from intervals, which need not be the same on both sides."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - value, 0.0) for value, high in zip(values, highs, strict=True)],
        "arrayminus": [max(value - low, 0.0) for value, low in zip(values, lows, strict=True)],
        "thickness": 1.5,
        "width": 4,
    }
