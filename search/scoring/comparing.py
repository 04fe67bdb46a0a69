"""Which of two networks is better: both on the same clips, the same resamples of them, under one protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.scoring import intervals, protocol
from search.scoring.intervals import BETTER, TIE, WORSE, Difference, Interval
from search.scoring.metrics import METRICS, Floats, Labels, both_classes
from search.scoring.resamples import ARTIST, CLIP, Resampled
from search.scoring.score_table import ClipScores, SplitScores

Side = Sequence[ClipScores]  # the seeds of one network
# The same, as the results and the resamples of the trials
Kept = Sequence[tuple[Mapping[str, Any], Resampled]]


@dataclass(frozen=True)
class Compared:
    """One metric of both networks, and the first minus the second.

    first, second: means over the seeds, each with its interval by what decides.
    by_clip:   the difference, by bootstrap over the clips.
    by_artist: over the artists; None where they are not known, or fewer than `intervals.FEWEST_GROUPS`.
    """

    first: tuple[float, Interval]
    second: tuple[float, Interval]
    by_clip: Difference
    by_artist: Difference | None

    @property
    def decided_by(self) -> str:
        """The artists decide where they are known: clips of one artist resemble each other, so the interval over
        clips is too narrow where artists have several. Where each has one the two are the same.
        """
        return CLIP if self.by_artist is None else ARTIST

    @property
    def deciding(self) -> Difference:
        return self.by_clip if self.by_artist is None else self.by_artist


@dataclass(frozen=True)
class Comparison:
    """Two networks, or two sets of seeds of one each. refusal: why they can't be compared; then there is nothing else.

    metrics: by their names in `metrics.METRICS`.
    """

    refusal: str | None
    metrics: dict[str, Compared]

    @property
    def difference(self) -> Difference:
        """Of macro ROC-AUC, by what decides."""
        return self.metrics["roc_auc"].deciding

    @property
    def by_clip(self) -> Difference:
        return self.metrics["roc_auc"].by_clip

    @property
    def by_artist(self) -> Difference | None:
        return self.metrics["roc_auc"].by_artist

    @property
    def decided_by(self) -> str:
        return self.metrics["roc_auc"].decided_by

    @property
    def verdict(self) -> str:
        """Of the first, in words; see `Difference.verdict`."""
        return self.difference.verdict


def compare_scores(a: ClipScores, b: ClipScores, split: str = "test") -> Comparison:
    """Compare two networks on the clips of a split. What can't be compared is told by `refusal`, not raised."""
    return compare_seeds([a], [b], split)


def compare_seeds(a: Side, b: Side, split: str = "test") -> Comparison:
    """The same for networks that were trained from several seeds: their means over the seeds are compared.

    A verdict is about these trainings; how far others would come out elsewhere, the spread over the seeds shows.
    """
    if why := refusal([*a, *b], split):
        return Comparison(why, {})
    clips = a[0].splits[split]
    parts = [_compared(a, b, split, unit) for unit in _units(clips)]
    return Comparison(None, {name: _joined([part[name] for part in parts]) for name in METRICS})


def compare_resampled(a: Kept, b: Kept, split: str = "test") -> Comparison:
    """The same from what was kept of both, without a look at their clips."""
    if why := _refusal_of_kept([*a, *b]):
        return Comparison(why, {})
    units = a[0][1].units(split)
    parts = [{name: _of_kept(a, b, f"{split}.{unit}", name) for name in METRICS} for unit in units]
    return Comparison(None, {name: _joined([part[name] for part in parts]) for name in METRICS})


def _refusal_of_kept(kept: Kept) -> str | None:
    first, draws = kept[0][0]["protocol"], kept[0][1].draws
    for result, resampled in kept[1:]:
        if found := protocol.differences(first, result["protocol"]):
            return f"the two are of different protocols: {', '.join(found)}"
        if resampled.draws != draws:
            return "the two were scored on other resamples, though their protocols agree"
    return None


def _of_kept(a: Kept, b: Kept, key: str, name: str) -> Compared:
    """One metric by one unit. key: split.unit."""
    split = key.partition(".")[0]
    one, other = (np.mean([kept.values[f"{key}.{name}"] for _, kept in side], axis=0) for side in (a, b))
    first, second = (fmean(result[split][name] for result, _ in side) for side in (a, b))
    return _told(one, other, a[0][1].groups[key], first, second)


def _units(clips: SplitScores) -> list[intervals.Groups]:
    return [None, clips.artists] if clips.artists_known else [None]


def refusal(scores: Side, split: str = "test") -> str | None:
    """Why these can't be compared, naming what differs and both values; None where they can."""
    first = scores[0]
    for other in scores[1:]:
        if found := protocol.differences(first.protocol, other.protocol):
            return f"the two are of different protocols: {', '.join(found)}"
        one, two = first.splits[split], other.splits[split]
        if one.clip_ids != two.clip_ids or not np.array_equal(one.labels, two.labels):
            return f"the {split} clips or their labels are not the same, though their protocols agree"
    return None


def _compared(a: Side, b: Side, split: str, unit: intervals.Groups) -> dict[str, Compared]:
    """All metrics, as if there were this unit alone."""
    numbers = intervals.numbered(unit, len(a[0].splits[split].labels))
    groups, draws, once = intervals.count(numbers), intervals.draw(numbers), np.ones((len(numbers), 1))
    swings, means = ([_means(side, split, weights) for side in (a, b)] for weights in (draws, once))
    found = {}
    for name in METRICS:
        (first, second), (one, other) = ([side[name] for side in sides] for sides in (means, swings))
        found[name] = _told(one, other, groups, float(first[0]), float(second[0]))
    return found


def _told(one: Floats, other: Floats, groups: int, first: float, second: float) -> Compared:
    """Of both their replicates and what was seen."""
    return Compared(
        (first, intervals.of_replicates(one, groups, first)),
        (second, intervals.of_replicates(other, groups, second)),
        intervals.difference(first - second, one - other, groups),
        None,
    )


def _joined(parts: Sequence[Compared]) -> Compared:
    """Of the same metric by clip, and then perhaps by artist."""
    deciding = parts[-1]
    by_artist = deciding.by_clip if len(parts) > 1 else None
    return Compared(deciding.first, deciding.second, parts[0].by_clip, by_artist)


def _means(side: Side, split: str, draws: Floats) -> intervals.Replicates:
    """Over the seeds, of the macro means in each resample."""
    clips = [each.splits[split] for each in side]
    found = [intervals.replicates(each.labels, each.probabilities, draws) for each in clips]
    return {name: np.mean([one[name] for one in found], axis=0) for name in METRICS}


@dataclass(frozen=True)
class TagDifference:
    """A tag's ROC-AUC in both, means over the seeds. positives: clips that carry it.

    verdict: of the first; better or worse only where that holds with 5 % risk for all tags together, and never where
             fewer than `intervals.FEWEST_GROUPS` clips or artists have the tag, or lack it.
    """

    tag: str
    positives: int
    first: float
    second: float
    verdict: str

    @property
    def difference(self) -> float:
        return self.first - self.second


def tag_differences(a: Side, b: Side, split: str = "test") -> list[TagDifference]:
    """Of the tags that have both classes, largest difference first. a, b: seeds that can be compared."""
    clips = a[0].splits[split]
    tags = np.flatnonzero(both_classes(clips.labels))
    numbers = intervals.numbered(_units(clips)[-1], len(clips.labels))
    draws, once = intervals.draw(numbers), np.ones((len(numbers), 1))
    first, second = (_tag_means(side, split, tags, once)[:, 0] for side in (a, b))
    swings = _tag_means(a, split, tags, draws) - _tag_means(b, split, tags, draws)
    known = _fewer(numbers, clips.labels[:, tags])
    able = np.flatnonzero(known >= intervals.FEWEST_GROUPS)
    # Each difference is compared with one more row, which is zero and never swings.
    apart = np.zeros(len(tags), dtype=bool)
    apart[able] = intervals.told_apart(
        np.append(first - second, 0.0),
        np.vstack([swings, np.zeros(swings.shape[1])]),
        able,
        np.full(len(able), len(tags)),
        known[able],
    )
    found = [
        TagDifference(a[0].tags[tag], int(clips.labels[:, tag].sum()), float(one), float(two), TIE)
        for tag, one, two in zip(tags, first, second, strict=True)
    ]
    told = [_with_verdict(each) if differs else each for each, differs in zip(found, apart, strict=True)]
    return sorted(told, key=lambda each: -abs(each.difference))


def _fewer(numbers: NDArray[np.intp], labels: Labels) -> NDArray[np.intp]:
    """Of each tag: how many groups have a clip with it, or one without it where those are fewer; (tags,).

    A tag of three clips among a thousand is known from three things. The bootstrap takes them for the world, and sees
    little more than how the others swing.
    """
    sides = [(numbers[has], numbers[~has]) for has in labels.T.astype(bool)]
    return np.array([min(len(np.unique(side)) for side in both) for both in sides], dtype=np.intp)


def _with_verdict(each: TagDifference) -> TagDifference:
    verdict = BETTER if each.difference > 0 else WORSE
    return TagDifference(each.tag, each.positives, each.first, each.second, verdict)


def _tag_means(side: Side, split: str, tags: np.ndarray, draws: Floats) -> np.ndarray:
    """Over the seeds, of each tag's ROC-AUC in each resample; (tags, resamples)."""
    clips = [each.splits[split] for each in side]
    each = [intervals.by_tag(one.labels[:, tags], one.probabilities[:, tags], draws)[0] for one in clips]
    return np.mean(each, axis=0)
