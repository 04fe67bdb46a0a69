"""From the scores of every clip to all numbers of a trial. A result is made here when its training ends, and again
whenever it is asked for: see search/rescore.py.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from search.intervals import METRICS, Interval
from search.metrics import NoScore, Scores, score
from search.resamples import ARTIST, CLIP, Resampled
from search.score_table import ClipScores, SplitScores

ENDS = {CLIP: "", ARTIST: "_by_artist"}  # what is added to the names of an interval's two ends


def summary(said: ClipScores, resampled: Resampled) -> dict[str, Any]:
    """All that a trial's result says of its scores, as JSON values.

    "valid", "test": macro means, their 95 % intervals as `roc_auc_low`, `roc_auc_high`, and where the artists are known
    `roc_auc_low_by_artist` and so on. "subsets": macro means over parts of the test clips. "tags": each tag.
    """
    found = {name: score(split.probabilities, split.labels, said.tags) for name, split in said.splits.items()}
    return {
        **{
            name: {**_macro(scores), "loss": said.losses[name], **_ends(name, resampled)}
            for name, scores in found.items()
        },
        "subsets": _subsets(said.splits["test"], said.tags),
        "tags": [asdict(tag) for tag in found["test"].tags],
        "protocol": dict(said.protocol),
    }


def _macro(scores: Scores) -> dict[str, float]:
    return {"roc_auc": scores.roc_auc, "pr_auc": scores.pr_auc, "tags_scored": scores.tags_scored}


def _ends(split: str, resampled: Resampled) -> dict[str, float]:
    ends: dict[str, float] = {}
    for unit in resampled.units(split):
        for metric in METRICS:
            sure = resampled.interval(split, unit, metric)
            ends |= {f"{metric}_low{ENDS[unit]}": sure.low, f"{metric}_high{ENDS[unit]}": sure.high}
    return ends


def interval(scores: Mapping[str, Any], unit: str = CLIP, metric: str = "roc_auc") -> Interval | None:
    """The interval in a split's numbers; None where they have none, as of artists that are not known."""
    low, high = (scores.get(f"{metric}_{end}{ENDS[unit]}") for end in ("low", "high"))
    return None if low is None or high is None else Interval(low, high)


def _subsets(test: SplitScores, tags: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Scores over parts of the test clips, such as those of artists that training never heard."""
    found = {}
    for name, part in test.subsets.items():
        with contextlib.suppress(NoScore):  # a part in which no tag has both classes
            scores = score(test.probabilities[part], test.labels[part], tags)
            found[name] = {**_macro(scores), "clips": int(part.sum())}
    return found
