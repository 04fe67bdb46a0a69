"""Which of two networks is better, and how sure that is: both on the same clips, the same resamples, one protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search import intervals, protocol
from search.intervals import METRICS, Difference
from search.metrics import Floats
from search.resamples import ARTIST, CLIP
from search.score_table import ClipScores


@dataclass(frozen=True)
class Compared:
    """One metric's difference, the first network minus the second.

    by_clip:   by bootstrap over the clips.
    by_artist: over the artists; None where they are not known, or fewer than `intervals.FEWEST_GROUPS`.
    """

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

    metrics: the differences of the macro means, by their names in `intervals.METRICS`.
    """

    refusal: str | None
    metrics: dict[str, Compared]

    @property
    def valid_comparison(self) -> bool:
        return self.refusal is None

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


def compare_seeds(a: Sequence[ClipScores], b: Sequence[ClipScores], split: str = "test") -> Comparison:
    """The same for networks that were trained from several seeds: their means over the seeds are compared.

    A verdict is about these trainings; how far others would come out elsewhere, the spread over the seeds shows.
    """
    if why := refusal([*a, *b], split):
        return Comparison(why, {})
    clips = a[0].splits[split]
    by_clip = _differences(a, b, split, None)
    by_artist = _differences(a, b, split, clips.artists) if clips.artists_known else None
    return Comparison(
        None, {name: Compared(by_clip[name], by_artist[name] if by_artist else None) for name in METRICS}
    )


def refusal(scores: Sequence[ClipScores], split: str = "test") -> str | None:
    """Why these can't be compared, naming what differs and both values; None where they can."""
    first = scores[0]
    for other in scores[1:]:
        if found := protocol.differences(first.protocol, other.protocol):
            return f"the two are of different protocols: {', '.join(found)}"
        one, two = first.splits[split], other.splits[split]
        if one.clip_ids != two.clip_ids or not np.array_equal(one.labels, two.labels):
            return f"the {split} clips or their labels are not the same, though their protocols agree"
    return None


def _differences(
    a: Sequence[ClipScores], b: Sequence[ClipScores], split: str, groups: intervals.Groups
) -> dict[str, Difference]:
    numbers = intervals.numbered(groups, len(a[0].splits[split].labels))
    draws, once = intervals.draw(numbers), np.ones((len(numbers), 1))
    swings, means = ([_means(side, split, weights) for side in (a, b)] for weights in (draws, once))
    return {
        name: intervals.difference(
            float(means[0][name][0] - means[1][name][0]),
            swings[0][name] - swings[1][name],
            intervals.count(numbers),
        )
        for name in METRICS
    }


def _means(side: Sequence[ClipScores], split: str, draws: Floats) -> intervals.Replicates:
    """Over the seeds, of the macro means in each resample."""
    clips = [each.splits[split] for each in side]
    found = [intervals.replicates(each.labels, each.probabilities, draws) for each in clips]
    return {name: np.mean([one[name] for one in found], axis=0) for name in METRICS}
