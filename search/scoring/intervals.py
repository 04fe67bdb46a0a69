"""How sure a macro mean is, and how sure the difference of two: the bootstrap, over clips or over groups of them.

Clips of one artist resemble each other, so where artists have several clips a resample draws artists, each with all
of its clips: resampling the clips themselves would take the second clip of an artist for news.

A resample in which a tag has one class only leaves that tag out of that resample's mean. Of two networks it leaves
out the same tags, as both are scored on the same draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.scoring.metrics import METRICS, Floats, Labels, weighted

RESAMPLES = 1000
CHUNK = 250  # resamples weighed at once: 250 x clips x 4 bytes for each of a few arrays
SURE = 0.95
FEWEST_GROUPS = 5  # of fewer nothing can be said
BETTER, WORSE, TIE = "better", "worse", "cannot be told apart"

Groups = Sequence[str] | None
Replicates = dict[str, NDArray[np.float64]]  # of each of METRICS: (resamples,)


@dataclass(frozen=True)
class Interval:
    """Where the value lies with 95 % confidence, for another draw of such clips or artists."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.4f} to {self.high:.4f}"


@dataclass(frozen=True)
class Difference:
    """Of two networks' macro means, the first minus the second; low and high: its 95 % interval."""

    low: float
    high: float
    mean: float

    @property
    def verdict(self) -> str:
        """Of the first, in words: better or worse where the interval leaves zero out."""
        if self.low > 0:
            return BETTER
        return WORSE if self.high < 0 else TIE


def difference(mean: float, gains: Floats, groups: int) -> Difference:
    """The difference that was seen, with the interval of its replicates `gains` (resamples,)."""
    sure = of_replicates(gains, groups, mean, least=-1.0)
    return Difference(sure.low, sure.high, mean)


def numbered(groups: Groups, clips: int) -> NDArray[np.intp]:
    """The group of each clip as a number from 0; a clip without one has its own."""
    if groups is None:
        return np.arange(clips)
    names = [name or f"\0{clip}" for clip, name in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def count(numbers: NDArray[np.intp]) -> int:
    """How many groups there are."""
    return int(numbers.max()) + 1


def draw(numbers: NDArray[np.intp], resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """How often each clip is in each resample; (clips, resamples). numbers: as of `numbered`."""
    groups = count(numbers)
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    return np.ascontiguousarray(drawn.T.astype(np.float32)[numbers])


def replicates(labels: Labels, probabilities: Floats, draws: Floats) -> Replicates:
    """The macro means of each resample; NaN where no tag has both classes. draws: (clips, resamples)."""
    parts = [
        _macro(labels, probabilities, np.ascontiguousarray(draws[:, at : at + CHUNK]))
        for at in range(0, draws.shape[1], CHUNK)
    ]
    return dict(zip(METRICS, np.concatenate(parts, axis=1), strict=True))


def _macro(labels: Labels, probabilities: Floats, draws: Floats) -> Floats:
    """(metrics, resamples)."""
    tags = by_tag(labels, probabilities, draws)
    scored = np.sum(~np.isnan(tags[0]), axis=0)
    return np.divide(np.nansum(tags, axis=1), scored, out=np.full(tags[:, 0].shape, np.nan), where=scored > 0)


def by_tag(labels: Labels, probabilities: Floats, draws: Floats) -> NDArray[np.float64]:
    """Each tag in each resample; (metrics, tags, resamples), NaN where it has one class."""
    each = [weighted(probabilities[:, tag], labels[:, tag], draws) for tag in range(labels.shape[1])]
    return np.array(each, dtype=np.float64).transpose(1, 0, 2)


def of_replicates(values: Floats, groups: int, seen: float, least: float = 0.0) -> Interval:
    """The interval between two quantiles of the replicates, NaN left out, moved so that their mean is what was seen.

    groups: how many were drawn from. seen: the value on the clips as they are. least: what no such value is below; none
    is above 1, and so the interval ends there. A resample holds some clips twice, which
    lifts the precision of rare tags, and loses others; on few clips the replicates would lie beside the value itself.
    """
    outside = NormalDist().cdf(-_mended(NormalDist().inv_cdf((1 + SURE) / 2), groups))
    low, high = np.nanquantile(values, [outside, 1 - outside]) - (np.nanmean(values) - seen)
    return Interval(max(float(low), least), min(float(high), 1.0))


def _mended(deviations: float, groups: Any) -> Any:
    """How many of the bootstrap's deviations hold what so many of a normal curve would.

    The bootstrap knows `groups` things and not the world: its spread is too small by sqrt((n - 1) / n), and it takes
    the normal curve for Student's. Both are mended as Hesterberg (2015) has it. From a hundred groups on it matters
    little; with twenty artists a verdict without it is a false alarm half as often again as it says.
    """
    return np.sqrt(groups / (groups - 1)) * student(deviations, groups - 1)


def student(normal: float, freedom: Any) -> Any:
    """Student's quantile where the normal curve's is `normal`, by Fisher's series: to 0.3 % at 1.96 and 4 degrees."""
    z = normal
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def told_apart(
    values: Floats,
    replicates: Floats,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    groups: int | NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Which of many pairs differ, with at most 5 % risk of a single false alarm among all of them.

    values: (rows,). replicates: (rows, resamples), of the same draws. left, right: (pairs,) rows that are compared.
    groups: how many clips or artists were drawn from; of each pair, where that is not the same for all.
    returns: (pairs,). Romano and Wolf's step-down (2005): a pair differs where its studentised difference passes what
             the largest of all pairs not yet told apart reaches in 95 % of the resamples. Unlike Holm's it needs no
             tiny p-values, which a thousand resamples can't show, and wastes nothing on rows that move together.
    """
    seen, apart = np.empty(len(left)), np.zeros(len(left), dtype=bool)
    while True:
        largest = np.zeros(replicates.shape[1])
        for at in range(0, len(left), CHUNK):
            pairs = slice(at, at + CHUNK)
            seen[pairs], swings = _studentised(values, replicates, left[pairs], right[pairs])
            largest = np.maximum(largest, swings[~apart[pairs]].max(axis=0, initial=0.0))
        found = ~apart & (seen > _mended(float(np.quantile(largest, SURE)), groups))
        if not found.any():
            return apart
        apart |= found


def _studentised(
    values: Floats, replicates: Floats, left: NDArray[np.intp], right: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """(pairs,) and (pairs, resamples): how many of its deviations a difference is away from zero, and swings.

    What never swings is told apart where it differs at all.
    """
    gaps = values[left] - values[right]
    gains = replicates[left] - replicates[right]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.nanstd(gains, axis=1)
        seen = np.where(deviation > 0, np.abs(gaps) / deviation, np.where(gaps == 0, 0.0, np.inf))
        swings = np.abs(gains - np.nanmean(gains, axis=1, keepdims=True)) / deviation[:, None]
    return seen, np.nan_to_num(swings, nan=0.0, posinf=0.0)
