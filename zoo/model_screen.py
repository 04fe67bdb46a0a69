"""`python -m zoo info` of a trained model: what it is, where it comes from, and what its scores mean, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.trained.card import Card

__all__ = ["model_lines"]

Facts = Sequence[tuple[str, str]]


def model_lines(source: str, card: Card, registry: Facts) -> list[str]:
    """A line each. source: where it was found. registry: what MLflow knows of it."""
    entry = card.entry()
    options = "".join(f" {name}={value}" for name, value in card.options.items())
    protocol, lineage = card.protocol, card.lineage
    found: Facts = [
        ("source", source),
        *registry,
        ("network", f"{card.network}{options}, {entry.cost(card.n_tags).parameters:,} parameters"),
        ("input", f"segments of {card.segment_samples} samples at {card.sample_rate_hz} Hz"),
        ("tags", f"{card.n_tags} ({card.tag_hash}): {', '.join(card.tags)}"),
        ("search", _known(lineage, "search")),
        ("command", _known(lineage, "command")),
        ("commit", _commit(lineage)),
        (
            "data",
            _data(card),
        ),
        ("protocol", _protocol(protocol)),
        *((f"{split} scores", _scores(scores)) for split, scores in _splits(card.scores)),
        ("scored on", _known(lineage, "evaluated")),
    ]
    return [f"{label:<13} {_line(words)}" for label, words in found]


def _known(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return "unknown" if value in (None, "") else str(value)


def _commit(lineage: Mapping[str, Any]) -> str:
    dirty = "; its tree was DIRTY: changes were not committed" if lineage.get("git_dirty") else ""
    return f"{_known(lineage, 'git_commit')}{dirty}"


def _data(card: Card) -> str:
    named = " ".join(_known(card.protocol, key) for key in ("dataset", "fingerprint"))
    return f"{named}; licence {card.licence or 'unknown'}"


def _protocol(protocol: Mapping[str, Any]) -> str:
    """Every field but those that have a line of their own."""
    return ", ".join(
        f"{key} {_known(protocol, key)}" for key in protocol if key not in ("dataset", "fingerprint")
    ) or ("unknown, so that its scores mean nothing")


def _splits(scores: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Those of each split, the test clips' first."""
    return ((split, scores[split]) for split in sorted(scores) if isinstance(scores[split], Mapping))


def _scores(scores: Mapping[str, Any]) -> str:
    told = []
    for key, name in (("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC")):
        told.append(f"{name} {_number(scores.get(key))}{_interval(scores, key, '')}")
        told[-1] += _interval(scores, key, "_by_artist")
    return ", ".join(told)


def _interval(scores: Mapping[str, Any], key: str, unit: str) -> str:
    low, high = scores.get(f"{key}_low{unit}"), scores.get(f"{key}_high{unit}")
    if low is None or high is None:
        return ""
    return f" ({'by artist' if unit else '95%'} {_number(low)} to {_number(high)})"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "unknown"


def _line(words: str) -> str:
    """One line, whatever a stranger wrote into a card."""
    return "".join(sign if sign.isprintable() else "?" for sign in words[:2000])
