"""Intervals of one network and of a pair, from all clips at once: what kept resamples of trials are compared with."""

import numpy as np

from search.scoring.intervals import (
    RESAMPLES,
    Difference,
    Groups,
    Interval,
    count,
    difference,
    draw,
    numbered,
    of_replicates,
    replicates,
)
from search.scoring.metrics import Floats, Labels


def interval(
    labels: Labels,
    probabilities: Floats,
    groups: Groups = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    metric: str = "roc_auc",
) -> Interval:
    """The 95 % interval of a macro mean.

    labels, probabilities: (clips, tags). metric: one of METRICS.
    groups: of each clip, such as its artist; "" is a group of its own. None resamples the clips.
    """
    numbers = numbered(groups, len(labels))
    draws, once = draw(numbers, resamples, seed), np.ones((len(labels), 1))
    found, seen = (replicates(labels, probabilities, each)[metric] for each in (draws, once))
    return of_replicates(found, count(numbers), float(seen[0]))


def paired(
    labels: Labels,
    a: Floats,
    b: Floats,
    groups: Groups = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    metric: str = "roc_auc",
) -> Difference:
    """The difference of two networks on the same clips, both scored on the same resamples; see `interval`."""
    numbers = numbered(groups, len(labels))
    draws = draw(numbers, resamples, seed)
    ones = np.ones((len(labels), 1))
    gains, means = (
        replicates(labels, a, each)[metric] - replicates(labels, b, each)[metric] for each in (draws, ones)
    )
    return difference(float(means[0]), gains, count(numbers))
