"""The data set that a search is about, as far as a plan needs it: nothing is opened, nothing heavy imported."""

from collections.abc import Mapping
from dataclasses import dataclass

import datasets
from datasets import recipe
from datasets.cards import check_files
from datasets.errors import nearest
from search.checks import AUTO
from search.errors import ConfigError
from search.settings import Settings


@dataclass(frozen=True)
class Data:
    """fingerprint: None while it has not been built; automatic: then it renders itself before the search.
    clips: clips by split. segmented_samples: how much of the longest clip is cut into segments.
    """

    name: str
    fingerprint: str | None
    convention: str
    clips: Mapping[str, int]
    segmented_samples: int
    sample_rate_hz: int
    tags: int
    tag_hash: str
    why: str
    automatic: bool = False

    def segments_per_clip(self, segment_samples: int) -> int:
        return max(1, self.segmented_samples // segment_samples)

    def segments(self, split: str, segment_samples: int) -> int:
        return self.clips.get(split, 0) * self.segments_per_clip(segment_samples)


def find(settings: Settings) -> Data:
    """The data set that the words mean. raises: DatasetError, ConfigError naming what to build or type."""
    name, why = settings.dataset, ""
    if name == AUTO:
        name = "mtat" if datasets.is_built("mtat") else "demo"
        why = (
            "the built MTAT"
            if name == "mtat"
            else "no MTAT has been built here, so the music rendered for trying out"
        )
    found = recipe.find(name)
    if found.automatic and not datasets.is_built(name):
        return _planned(settings, name, why)
    if settings.plan and found.published and not datasets.is_built(name):
        return _published(settings, found, found.published)
    card = datasets.card(name)
    check_files(card)
    convention = _convention(settings, name, card.default_convention, card.conventions)
    samples = min(card.clip_samples, card.segmented_samples or card.clip_samples)
    clips = card.conventions[convention]
    if empty := [split for split in recipe.SPLITS if not clips.get(split)]:
        raise ConfigError(
            f"{name} ({convention}) has no clip in {' and '.join(empty)}: a search needs all three splits"
        )
    return Data(
        name,
        card.fingerprint,
        convention,
        clips,
        samples,
        card.sample_rate_hz,
        len(card.tags),
        card.tag_hash,
        why,
    )


def _planned(settings: Settings, name: str, why: str) -> Data:
    plan = recipe.find(name).plan(None, recipe.find(name).rate_hz)
    convention = _convention(settings, name, plan.conventions[0], plan.listed)
    samples = min(plan.clip_samples, plan.segmented_samples or plan.clip_samples)
    clips = plan.listed[convention]
    return Data(
        name,
        None,
        convention,
        clips,
        samples,
        plan.sample_rate_hz,
        len(plan.tags),
        datasets.tag_hash(plan.tags),
        why,
        automatic=True,
    )


def _published(settings: Settings, found: recipe.Recipe, known: recipe.Published) -> Data:
    """A data set that only a plan may name, as it is not built."""
    conventions = known.conventions
    convention = _convention(settings, found.name, next(iter(conventions)), conventions)
    return Data(
        name=found.name,
        fingerprint=None,
        convention=convention,
        clips=conventions[convention],
        segmented_samples=int(known.segmented_seconds * found.rate_hz + 1e-6),
        sample_rate_hz=found.rate_hz,
        tags=known.tags,
        tag_hash="",
        why=f"not built yet; planned from its published numbers; to build it: {found.command}",
    )


def _convention(settings: Settings, name: str, default: str, known: Mapping[str, object]) -> str:
    wanted = settings.convention or default
    if wanted not in known:
        raise ConfigError(f"{name} has no convention '{wanted}'; {nearest(wanted, known)}")
    return wanted
