"""How well scores rank the clips of each tag: ROC-AUC and average precision, and how sure the mean of them is.

Equal to scikit-learn's to rounding, which the tests hold, at a fraction of its time and without its import.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.settings import SearchError

RESAMPLES = 1000
CHUNK = 250  # resamples weighed at once: 250 x clips x 4 bytes for each of a few arrays

Floats = NDArray[np.floating]


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


def check_scorable(labels: NDArray[np.integer], clips: str) -> None:
    """Refuse clips on which no AUC exists. labels: (clips, tags). raises: NoScore, which says which clips."""
    if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
        raise NoScore(
            f"none of the {labels.shape[1]} tags has both classes in the {len(labels)} {clips}: no AUC exists"
        )


def score(probabilities: Floats, labels: NDArray[np.integer], tags: tuple[str, ...]) -> Scores:
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


def _tag_score(tag: str, probabilities: Floats, labels: NDArray[np.integer]) -> TagScore:
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return TagScore(tag, positives, None, None)
    roc_auc = float(_weighted_auc(probabilities, labels, np.ones((len(labels), 1), np.float32))[0])
    return TagScore(tag, positives, roc_auc, _average_precision(probabilities, labels))


def _average_precision(probabilities: Floats, labels: NDArray[np.integer]) -> float:
    """The mean, over the positives, of the precision among all clips that score as high or higher."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, carried = probabilities[order], labels[order].astype(np.int64)
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal scores are one threshold
    found = np.cumsum(carried)[ends]
    return float(np.sum(np.diff(found, prepend=0) * found / (ends + 1)) / found[-1])


def roc_auc_interval(
    probabilities: Floats, labels: NDArray[np.integer], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % interval of macro ROC-AUC by bootstrap over clips.

    probabilities, labels: (clips, tags). A resample in which a tag has one class only leaves that tag out.
    """
    clips = len(labels)
    draws = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), size=resamples)
    counts = np.ascontiguousarray(draws.T, dtype=np.float32)
    means = np.concatenate(
        [_macro_auc(probabilities, labels, counts[:, at : at + CHUNK]) for at in range(0, resamples, CHUNK)]
    )
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)


def _macro_auc(probabilities: Floats, labels: NDArray[np.integer], draws: NDArray[np.floating]) -> Floats:
    """Macro ROC-AUC of each resample; (resamples,). draws: (clips, resamples), how often each clip was drawn."""
    aucs = [_weighted_auc(probabilities[:, tag], labels[:, tag], draws) for tag in range(labels.shape[1])]
    total = np.nansum(aucs, axis=0)
    scored = np.sum(~np.isnan(aucs), axis=0)
    return np.divide(total, scored, out=np.full(draws.shape[1], np.nan), where=scored > 0)


def _weighted_auc(probabilities: Floats, labels: NDArray[np.integer], draws: NDArray[np.floating]) -> Floats:
    """ROC-AUC of one tag in each resample; NaN where a class is missing; (resamples,).

    A positive wins against every negative below it, and half against its equals: with the negatives sorted, both
    are differences of one running sum of how often they were drawn. draws: (clips, resamples).
    """
    carried = labels.astype(bool)
    others = np.flatnonzero(~carried)
    others = others[np.argsort(probabilities[others], kind="stable")]
    drawn = np.zeros((len(others) + 1, draws.shape[1]), dtype=np.float32)  # counts stay far below 2^24: exact
    np.cumsum(draws[others], axis=0, out=drawn[1:])
    below = np.searchsorted(probabilities[others], probabilities[carried], side="left")
    not_above = np.searchsorted(probabilities[others], probabilities[carried], side="right")
    positive = draws[carried]
    wins = np.einsum("pr,pr->r", positive, (drawn[below] + drawn[not_above]) / 2, dtype=np.float64)
    pairs = positive.sum(axis=0, dtype=np.float64) * drawn[-1]
    return np.divide(wins, pairs, out=np.full(draws.shape[1], np.nan), where=pairs > 0)
