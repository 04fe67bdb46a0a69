"""The gate of the registry: what a model must show to be registered, and what to become the champion of its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search import files
from search.errors import SearchError
from search.scoring import score_table
from search.scoring.comparing import compare_scores
from search.scoring.intervals import BETTER
from search.scoring.score_table import ClipScores

if TYPE_CHECKING:
    from zoo import Card

CHAMPION, CHALLENGER = "champion", "challenger"
OVERRIDE = "force=true reason='...' makes it the champion all the same"
RECORDED = ("dataset", "fingerprint", "convention", "tag_hash", "clips")  # of the protocol


@dataclass(frozen=True)
class Candidate:
    """What a run stored: the card of its checkpoint, and its scores of every clip. checkpoint: the folder."""

    checkpoint: Path
    card: "Card"
    scores: ClipScores


@dataclass(frozen=True)
class Decision:
    """alias: what the gate lets a version be called, "champion" or "challenger". why: in words."""

    alias: str
    why: str


def candidate(folder: Path) -> Candidate:
    """Read what a run stored. folder: with checkpoint/ and scores.parquet.

    raises: SearchError or CheckpointError, which say what is missing, damaged, or does not belong together.
    """
    from zoo.served import MODEL_FILE
    from zoo.trained.checkpoint import read_card

    checkpoint = folder / files.CHECKPOINT
    card, scores = read_card(checkpoint), score_table.read(folder / files.SCORES)
    known = {"card.json", "weights.safetensors", MODEL_FILE}
    if foreign := sorted({file.name for file in checkpoint.iterdir()} - known):
        raise SearchError(
            f"its checkpoint has {foreign[0][:80]!r} beside weights and card; nothing else is registered"
        )
    _check_scores(card, scores)
    return Candidate(checkpoint, card, scores)


def _check_scores(card: "Card", scores: ClipScores) -> None:
    """Refuse scores that do not say what they mean, or mean something else than the card says."""
    if "test" not in scores.splits or not len(scores.splits["test"].clip_ids):
        raise SearchError("it has no scores of test clips; a model is registered with them only")
    if missing := [name for name in RECORDED if not scores.protocol.get(name)]:
        raise SearchError(f"its scores do not tell their {missing[0]}; train that network again")
    if scores.tags != card.tags or scores.protocol["tag_hash"] != card.tag_hash:
        raise SearchError("its scores are of another tag list than its card; train that network again")
    if dict(card.protocol) != dict(scores.protocol):
        raise SearchError("its scores are of another protocol than its card; train that network again")


def decide(now: ClipScores, unchecked: str | None, holder: str | None, before: ClipScores | None) -> Decision:
    """Whether a version becomes the champion.

    now:       its scores. unchecked: why its weights were not seen to give these scores; None where they were.
    holder:    the champion there is, in words. before: its scores, None where they are not to be had.
    """
    if unchecked:
        why = f"its weights were not scored again: {unchecked}; publish it where they can be, or {OVERRIDE}"
        return Decision(CHALLENGER, why)
    if holder is None:
        return Decision(CHAMPION, "the first of its name")
    if before is None:
        return Decision(CHALLENGER, f"{holder} has no scores to compare with; {OVERRIDE}")
    found = compare_scores(now, before)
    if found.refusal:
        return Decision(CHALLENGER, f"it can't be compared with {holder}: {found.refusal}; {OVERRIDE}")
    gap = found.difference
    told = (
        f"its test AUC minus that of {holder} is {gap.mean:+.4f} (95% interval {gap.low:+.4f} to {gap.high:+.4f}, "
        f"by {found.decided_by})"
    )
    if found.verdict == BETTER:
        return Decision(CHAMPION, told)
    return Decision(CHALLENGER, f"{told}: {found.verdict}; {OVERRIDE}")


def git_state(lineage: Mapping[str, object]) -> str:
    """The commit that trained it, in words."""
    commit = lineage.get("git_commit")
    if not commit:
        return "no commit is known"
    return f"{str(commit)[:12]}{' with changes that were not committed' if lineage.get('git_dirty') else ''}"
