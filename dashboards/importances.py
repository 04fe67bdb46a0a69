"""The part of page "Search" that says which parameters matter; it is computed beside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards import figures, importance
from dashboards.blocks import Block, Figure, Text
from dashboards.reading import Reading, Trial
from search.errors import SearchError


def blocks(reading: Reading, search: str, done: Sequence[Trial], protocol: str) -> tuple[list[Block], bool]:
    """The picture, or why there is none, and whether it is still being computed."""
    known = [
        (each.record.params, each.result["valid"]["roc_auc"]) for each in done if each.result is not None
    ]
    tried = importance.points(known)
    if why := refusal(tried):
        return ([Text(why)] if done else []), False
    key = ("importance", search, tuple(sorted(each.record.signature for each in done)))
    found = reading.aside.get(key, lambda: importance.importance(tried))
    if found is None:
        return [Text("Which parameters matter is being computed, and shows here when it is.")], True
    return [
        Text(str(found)) if isinstance(found, SearchError) else figure(found, len(tried), protocol)
    ], False


def refusal(tried: Sequence[tuple[importance.Params, float]]) -> str:
    """Why nothing can be said of these points; "" where something can."""
    if len({name for params, _ in tried for name in params}) < 2:
        return "The search varies one parameter only, so there is none that matters more than another."
    if len(tried) < importance.FEWEST:
        first = f"Which parameters matter can be said from {importance.FEWEST} different settings on"
        return f"{first}; {len(tried)} have ended."
    return ""


def figure(shares: Mapping[str, float], points: int, protocol: str) -> Figure:
    """A bar for each parameter."""
    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [share for _, share in ordered],
        "y": [figures.plain(name) for name, _ in ordered],
        "marker": {"color": figures.COLOURS[0]},
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }
    layout = {
        "xaxis": figures.axis("importance (share of 1)"),
        "yaxis": figures.axis("parameter", type="category"),
    }
    caption = (
        f"How much each parameter decides whether a training is among the best {importance.BEST:.0%} by valid ROC-AUC: "
        f"PED-ANOVA over {points} settings, conditional parameters included. {protocol}"
    )
    return Figure("importance", [trace], layout, caption, height_px=120 + 28 * len(ordered))
