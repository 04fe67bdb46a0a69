"""Tagging songs with a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from zoo.card import Card
from zoo.checkpoint import read
from zoo.errors import ZooError
from zoo.locate import fetched

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Tagger", "load"]

SEGMENTS_AT_ONCE = 8  # 3^9 needs about 30 MiB a segment


@dataclass(frozen=True)
class Tagger:
    """A network with what is needed to use it. `zoo.load` makes one.

    network: in evaluation mode.
    card:    its tags, rate, protocol, scores and lineage.
    source:  where it was loaded from, in words.
    """

    network: nn.Module
    card: Card
    source: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of `score`."""
        return self.card.tags

    @property
    def sample_rate_hz(self) -> int:
        """The rate that `score` expects."""
        return self.card.sample_rate_hz

    @property
    def segment_samples(self) -> int:
        """How many samples the network reads at once."""
        return self.card.segment_samples

    def __call__(self, path: str | Path) -> dict[str, float]:
        """Tag a whole audio file.

        path:    any file that `datasets.audio.decode` reads, of any rate and length.
        returns: {tag: probability}, in the order of `tags`.
        raises:  ValueError, naming the file, if no audio comes out of it.
        """
        from datasets.audio import decode

        scores = self.score(decode(path, self.sample_rate_hz))
        return dict(zip(self.tags, scores.tolist(), strict=True))

    def score(self, wave: ArrayLike) -> NDArray[np.float64]:
        """Tag a waveform, as clips are tagged in evaluation.

        wave:    (samples,) in [-1, 1], mono at `sample_rate_hz`.
        returns: (n_tags,) probabilities: the mean of the sigmoids of non-overlapping segments from sample 0.
                 An incomplete last segment is left out; a wave shorter than one is filled up with zeros.
        raises:  ZooError if the wave is empty, not one-dimensional, or holds what is not a number.
        source:  Lee et al. 2017, §4.
        """
        samples = np.asarray(wave, dtype=np.float32)
        if samples.ndim != 1 or not samples.size:
            raise ZooError(f"a wave has shape (samples,), at least one; this one has {samples.shape}")
        if not np.isfinite(samples).all():
            raise ZooError("the wave holds values that are not numbers")
        length = self.segment_samples
        if len(samples) < length:
            samples = np.pad(samples, (0, length - len(samples)))
        segments = torch.from_numpy(samples[: len(samples) // length * length].reshape(-1, length).copy())
        device = next(self.network.parameters()).device
        total = torch.zeros(len(self.tags), dtype=torch.float64)
        with torch.inference_mode():
            for batch in segments.split(SEGMENTS_AT_ONCE):
                total += self.network(batch.to(device)).double().sigmoid().sum(dim=0).cpu()
        return (total / len(segments)).numpy()


def load(uri: str | Path, device: str = "cpu") -> Tagger:
    """Load a trained network.

    uri:    a checkpoint folder, runs:/<run>/checkpoint, models:/<name>@<alias> or models:/<name>/<version>;
            the last three from MLFLOW_TRACKING_URI or the project's own store.
    device: where the network is to run, such as "cuda".
    raises: ZooError if there is no such thing, CheckpointError (one of them) if it is damaged.
    """
    with fetched(uri) as (folder, source):
        network, card = read(folder)
    return Tagger(network.to(device), card, source)
