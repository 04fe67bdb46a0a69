"""Scores of clips, made up: networks that hear the tags more or less well."""

from typing import Any

import numpy as np

import zoo
from search import files
from search.scoring import resamples, score_table, scores
from search.scoring.score_table import ClipScores, SplitScores
from search.settings import Training, TrialSettings

TAGS = ("drums", "piano", "sad")
PROTOCOL = {
    "dataset": "mtat",
    "fingerprint": "f00d",
    "convention": "paper",
    "split": "test",
    "tag_hash": "t",
    "clips": 80,
    "sample_rate_hz": 22050,
    "segments_per_clip": 10,
    "tags_scored": 3,
}


def a_network(
    ear: float = 1.0, seed: int = 1, clips: int = 80, artists: int = 20, **protocol: Any
) -> ClipScores:
    """What a network says; the clips and their labels are the same for every one. artists: 0 where none is known."""
    return ClipScores(
        tags=TAGS,
        protocol={**PROTOCOL, "clips": clips, **protocol},
        splits={
            split: _split(split, number, ear, seed, clips, artists)
            for number, split in enumerate(("valid", "test"))
        },
        losses={"valid": 0.4, "test": 0.5},
    )


def _split(name: str, number: int, ear: float, seed: int, clips: int, artists: int) -> SplitScores:
    world, own = np.random.default_rng((number, clips)), np.random.default_rng((number, seed))
    labels = (world.random((clips, len(TAGS))) < (0.5, 0.3, 0.1)).astype(np.uint8)
    labels[0], labels[1] = 0, 1
    noise = world.normal(size=labels.shape) + own.normal(size=labels.shape)
    return SplitScores(
        clip_ids=tuple(f"{name}{clip}" for clip in range(clips)),
        artists=tuple(f"artist{clip % artists}" if artists else "" for clip in range(clips)),
        labels=labels,
        probabilities=1 / (1 + np.exp(-ear * labels - noise)),
        subsets={"unseen_artist": np.arange(clips) % 2 == 0} if name == "test" else {},
    )


def leave_trial(network: str, said: ClipScores, seed: int = 0) -> tuple[dict[str, Any], TrialSettings]:
    """Leave a folder as a trial that has ended does, without weights: its result, and its settings."""
    settings = TrialSettings(network, zoo.entry(network).options, Training(), seed, "mtat", "f", "paper", "t")
    folder = files.trial_folder(settings.signature())
    score_table.write(folder / files.SCORES, said)
    result = {
        "signature": settings.signature(),
        "network": network,
        "epochs": 3,
        "seconds": 60.0,
        **scores.summary(said, resamples.of(said)),
    }
    files.write_json(folder / files.SETTINGS, settings.to_json())
    files.write_json(folder / files.RESULT, result)
    return result, settings
