"""From the scores of every clip to all numbers of a trial. A result is made here when its training ends, and again
whenever it is asked for: see search/rescore.py.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from search.scoring.intervals import Interval
from search.scoring.metrics import METRICS, NoScore, Scores, score
from search.scoring.resamples import ARTIST, CLIP, Resampled
from search.scoring.score_table import ClipScores, SplitScores

if TYPE_CHECKING:
    from rich.table import Table

ENDS = {CLIP: "", ARTIST: "_by_artist"}  # what is added to the names of an interval's two ends


def summary(said: ClipScores, resampled: Resampled) -> dict[str, Any]:
    """All that a trial's result says of its scores, as JSON values: `points`, and of each split the ends of the 95 %
    intervals, as `roc_auc_low`, `roc_auc_high`, and where the artists are known `roc_auc_low_by_artist` and so on.
    """
    found = points(said)
    ends = {name: {**found[name], **_ends(name, resampled, found[name])} for name in said.splits}
    return {**found, **ends, "protocol": dict(said.protocol)}


def points(said: ClipScores) -> dict[str, Any]:
    """The numbers without how sure they are.

    "valid", "test": macro means. "subsets": the same over parts of the test clips. "tags": each tag of the test clips.
    """
    found = {name: score(split.probabilities, split.labels, said.tags) for name, split in said.splits.items()}
    return {
        **{name: {**_macro(scores), "loss": said.losses[name]} for name, scores in found.items()},
        "subsets": _subsets(said.splits["test"], said.tags),
        "tags": [asdict(tag) for tag in found["test"].tags],
    }


def _macro(scores: Scores) -> dict[str, float]:
    return {"roc_auc": scores.roc_auc, "pr_auc": scores.pr_auc, "tags_scored": scores.tags_scored}


def _ends(split: str, resampled: Resampled, seen: Mapping[str, float]) -> dict[str, float]:
    ends: dict[str, float] = {}
    for unit in resampled.units(split):
        for metric in METRICS:
            sure = resampled.interval(split, unit, metric, seen[metric])
            ends |= {f"{metric}_low{ENDS[unit]}": sure.low, f"{metric}_high{ENDS[unit]}": sure.high}
    return ends


def interval(scores: Mapping[str, Any], unit: str = CLIP, metric: str = "roc_auc") -> Interval | None:
    """The interval in a split's numbers; None where they have none, as of artists that are not known."""
    low, high = (scores.get(f"{metric}_{end}{ENDS[unit]}") for end in ("low", "high"))
    return None if low is None or high is None else Interval(low, high)


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """A result's numbers by the names that they have in MLflow, as `test_roc_auc` or `test_twin_free_pr_auc`."""
    found = {f"best_valid_{key}": value for key, value in result["valid"].items()}
    found |= {f"test_{key}": value for key, value in result["test"].items()}
    for part, scored in result.get("subsets", {}).items():
        found |= {f"test_{part}_{key}": value for key, value in scored.items()}
    return {name: float(value) for name, value in found.items()}


def tag_table(tags: Sequence[Mapping[str, Any]], clips: int) -> "Table":
    """Each tag with its support, for a terminal; tags of one class stand last, without a score."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("tag", f"of {clips} clips", "ROC-AUC", "average precision"):
        table.add_column(title, justify="left" if title == "tag" else "right")
    for tag in sorted(tags, key=lambda tag: -(tag["roc_auc"] or -1.0)):
        scored = [tag["roc_auc"], tag["average_precision"]]
        words = ["one class only", ""] if None in scored else [f"{value:.4f}" for value in scored]
        table.add_row(tag["tag"], str(tag["positives"]), *words)
    return table


def _subsets(test: SplitScores, tags: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Scores over parts of the test clips, such as those of artists that training never heard."""
    found = {}
    for name, part in test.subsets.items():
        with contextlib.suppress(NoScore):  # a part in which no tag has both classes
            scores = score(test.probabilities[part], test.labels[part], tags)
            found[name] = {**_macro(scores), "clips": int(part.sum())}
    return found
