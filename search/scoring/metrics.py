"""How well scores rank the clips of each tag: ROC-AUC and average precision.

Equal to scikit-learn's to rounding, which the tests hold, at a fraction of its time and without its import.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.errors import SearchError

METRICS = ("roc_auc", "pr_auc")  # the macro means, by the names that they have everywhere

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


class NoScore(SearchError):
    """These clips can't tell a good network from a bad one."""


@dataclass(frozen=True)
class TagScore:
    """One tag: how many clips carry it, and how well they are ranked; None where all clips are of one class."""

    tag: str
    positives: int
    roc_auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Scores:
    """The macro means over `tags_scored` tags, and each tag."""

    roc_auc: float
    pr_auc: float
    tags_scored: int
    tags: tuple[TagScore, ...]


def both_classes(labels: Labels) -> NDArray[np.bool_]:
    """Which tags some clips carry and some don't; (tags,). labels: (clips, tags)."""
    carried = np.count_nonzero(labels, axis=0)
    return (carried > 0) & (carried < len(labels))


def check_scorable(labels: Labels, clips: str) -> None:
    """Refuse clips on which no AUC exists. labels: (clips, tags). raises: NoScore, which says which clips."""
    if not both_classes(labels).any():
        raise NoScore(
            f"none of the {labels.shape[1]} tags has both classes in the {len(labels)} {clips}: no AUC exists"
        )


def score(probabilities: Floats, labels: Labels, tags: tuple[str, ...]) -> Scores:
    """Macro ROC-AUC and macro average precision.

    probabilities, labels: (clips, tags).
    A tag that all clips carry, or none, has no AUC: it is listed with None and is in no mean.
    raises: NoScore if no tag has both classes.
    """
    check_scorable(labels, "clips")
    listed = tuple(_tag_score(tag, probabilities[:, i], labels[:, i]) for i, tag in enumerate(tags))
    aucs = [each.roc_auc for each in listed if each.roc_auc is not None]
    precisions = [each.average_precision for each in listed if each.average_precision is not None]
    return Scores(float(np.mean(aucs)), float(np.mean(precisions)), len(aucs), listed)


def _tag_score(tag: str, probabilities: Floats, labels: Labels) -> TagScore:
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return TagScore(tag, positives, None, None)
    roc_auc, precision = weighted(probabilities, labels, np.ones((len(labels), 1)))
    return TagScore(tag, positives, float(roc_auc[0]), float(precision[0]))


def weighted(probabilities: Floats, labels: Labels, draws: Floats) -> tuple[Floats, Floats]:
    """ROC-AUC and average precision of one tag, for many weightings of its clips at once.

    probabilities, labels: (clips,). draws: (clips, resamples), how often each clip counts; whole numbers, which are
             exact in float32, too. The precisions are of the kind of `draws`.
    returns: two of (resamples,), NaN where a class is missing.

    With the clips sorted, all that is asked of a positive is how much lies above it, and how much above what comes
    after its equals. So only the sums between such places are taken, and there are few, as most clips are negative.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked, positive = -probabilities[order], np.flatnonzero(labels[order])
    if not len(positive):
        return np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    first, end = (np.searchsorted(ranked, ranked[positive], side) for side in ("left", "right"))
    places = np.unique(np.concatenate([[0], first, end]))
    drawn = draws[order]
    above = _sums_above(np.add.reduceat(drawn, places[places < len(order)], axis=0))
    weight = drawn[positive]
    found = _sums_above(weight)
    all_above, all_until = (above[np.searchsorted(places, where)] for where in (first, end))
    found_above, found_until = (found[np.searchsorted(positive, where)] for where in (first, end))
    total = found[-1].astype(np.float64)
    pairs = total * (above[-1] - total)
    lost = _product(weight, (all_above - found_above + all_until - found_until) / 2)  # equals count half
    precision = _product(weight, found_until / np.maximum(all_until, 1))
    nothing = np.full(draws.shape[1], np.nan)
    both = pairs > 0
    lost_share = np.divide(lost, pairs, out=nothing.copy(), where=both)
    return 1 - lost_share, np.divide(precision, total, out=nothing, where=both)


def _sums_above(parts: Floats) -> Floats:
    """(parts, resamples) -> (parts + 1, resamples): the sum of all parts before each, and of all."""
    sums = np.zeros((len(parts) + 1, parts.shape[1]), dtype=parts.dtype)
    np.cumsum(parts, axis=0, out=sums[1:])
    return sums


def _product(weight: Floats, value: Floats) -> Floats:
    return np.einsum("pr,pr->r", weight, value, dtype=np.float64)
