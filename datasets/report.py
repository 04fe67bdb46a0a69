"""What a build tells the person who waits for it: what is there now, what was before, and what looks odd."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from datasets.cards import SKIPPED_FILE, Card
from datasets.recipe import SPLITS, Plan

SHORT = 0.1  # of the median length: less than this is rather a file cut off than a short piece
# Of the tags, with clips of both classes in a split, for means over its tags to compare networks
ENOUGH = 0.9


def replacing(plan: Plan, before: Card | None) -> Iterator[str]:
    """Before anything is made: that another data set of this name is there, if the plan alone shows it."""
    if before and (plan.id, plan.tags) != (before.plan_id, before.tags):
        keep = "called=NAME" if plan.called else "out=FOLDER"
        yield (
            f"{before.name} is there as another data set ({_content(before)}), which this build replaces; "
            f"{keep} keeps both"
        )


def report(plan: Plan, before: Card | None, built: Card, folder: Path) -> Iterator[str]:
    """What is there now, what is not and why, and how far each convention is complete."""
    untagged = int((plan.labels.sum(axis=1) == 0).sum())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in built.skipped.items()) or "nothing"
    already = " was already built, and is the same" if before == built else ""
    yield (
        f"{built.name}{already}: {built.clips:,} clips, {built.hours:.2f} hours at {built.sample_rate_hz} Hz, "
        f"{len(built.tags)} tags ({untagged:,} without any of them), fingerprint {built.fingerprint}, in {folder}"
    )
    if before and before.fingerprint != built.fingerprint:
        yield f"it replaces another data set of that name: {_content(before)}"
    yield (
        f"skipped: {reasons}; each is named in {folder / SKIPPED_FILE}"
        if built.skipped
        else "skipped: nothing"
    )
    if built.clipped_clips:
        yield f"clips with peaks beyond full scale, which were clipped to it: {built.clipped_clips:,}"
    for convention, listed in plan.listed.items():
        stored = built.conventions[convention]
        parts = ", ".join(f"{split} {stored[split]:,} of {listed[split]:,}" for split in SPLITS)
        yield f"split {convention}: {parts}"


def _content(card: Card) -> str:
    return f"{card.clips:,} clips at {card.sample_rate_hz} Hz, {len(card.tags)} tags, fingerprint {card.fingerprint}"


def doubts(plan: Plan, columns: Mapping[str, list], labels: np.ndarray) -> Iterator[str]:
    """What was built all the same, but may not be what was meant.

    columns: of the index, clip by clip; see `datasets.index`. labels: (clips, tags).
    """
    yield from _cut_off(columns["path"], np.array(columns["n_samples"]), plan.sample_rate_hz)
    sides = np.array(columns[f"split:{plan.conventions[0]}"])
    for split in ("valid", "test"):
        yield from _too_few(split, labels[sides == split])


def _cut_off(paths: list[str], n_samples: np.ndarray, rate_hz: int) -> Iterator[str]:
    if not len(n_samples):
        return
    median = float(np.median(n_samples))
    short = np.flatnonzero(n_samples < SHORT * median)
    if len(short):
        yield (
            f"warning: {len(short):,} of {len(n_samples):,} clips are shorter than a tenth of the median of "
            f"{median / rate_hz:.3g} s, the first {paths[short[0]]} with {n_samples[short[0]] / rate_hz:.2g} s: "
            "are their files cut off?"
        )


def _too_few(split: str, labels: np.ndarray) -> Iterator[str]:
    """labels: (clips of the split, tags)."""
    positive, n_tags = labels.sum(axis=0), labels.shape[1]
    both = int(((positive > 0) & (positive < len(labels))).sum())
    if both < ENOUGH * n_tags:
        clips = f"{len(labels):,} clip{'s' * (len(labels) != 1)}"
        yield (
            f"warning: {split} has {clips}; {both} of {n_tags} tags have both classes there: it can't tell networks "
            "apart"
        )
