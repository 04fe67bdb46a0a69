"""Scores of clips, made up: networks that hear the tags more or less well."""

from typing import Any

import numpy as np

from search.score_table import ClipScores, SplitScores

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
