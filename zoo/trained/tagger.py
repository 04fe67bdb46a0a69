"""Tagging songs with a trained network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from zoo.entry import Entry
from zoo.errors import ZooError
from zoo.trained.card import Card
from zoo.trained.checkpoint import read
from zoo.trained.folded import folded
from zoo.trained.locate import fetched

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Tagger", "cut", "load", "segments_at_once"]

# See `segments_at_once`: 53 segments of 0.9 s, 17 of 2.7 s; 142 of 3^9, which needs about 30 MiB for each.
CPU_SAMPLES, CPU_BYTES = 2**20, 2**25
GPU_SAMPLES, MOST_AT_ONCE = 2**23, 1024


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

    @cached_property
    def segments_at_once(self) -> int:
        """How many segments go through the network together."""
        return segments_at_once(self.card.entry(), len(self.tags), self._device)

    @cached_property
    def _asked(self) -> nn.Module:
        """The network in its form for asking only."""
        return folded(self.network)

    @property
    def is_on_processor(self) -> bool:
        """Whether the network runs there, and not on a GPU."""
        return self._device.type == "cpu"

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def __call__(self, path: str | Path) -> dict[str, float]:
        """Tag a whole audio file, in the memory of a few segments.

        path:    any file that `datasets.audio.decode` reads, of any rate and length.
        returns: {tag: probability}, in the order of `tags`.
        raises:  ValueError, naming the file, if no audio comes out of it.
        """
        from datasets.audio import decode_blocks

        return self.named(self._mean(decode_blocks(path, self.sample_rate_hz)))

    def named(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        """(n_tags,) in the order of `tags` -> {tag: probability}."""
        return dict(zip(self.tags, probabilities.tolist(), strict=True))

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
        return self._mean([samples])

    def _mean(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
        total, count = np.zeros(len(self.tags)), 0
        segments = cut(blocks, self.segment_samples)
        while batch := list(islice(segments, self.segments_at_once)):
            total += self.probabilities(np.stack(batch)).sum(axis=0)
            count += len(batch)
        return total / count

    def probabilities(self, segments: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the network says of each segment, all of them at once.

        segments: (segments, segment_samples) in [-1, 1], mono at `sample_rate_hz`.
        returns:  (segments, n_tags), the sigmoids of the logits.
        """
        with torch.inference_mode():
            logits = self._asked(torch.from_numpy(segments).to(self._device))
            return logits.double().sigmoid().cpu().numpy()


def segments_at_once(entry: Entry, n_tags: int, device: torch.device) -> int:
    """How many segments go through a network together: what a GPU, or a core's cache, is filled well by.

    A GPU needs about 4 GiB for so many of 3^9. A processor takes few, and one of a network with large activations:
    blocks of more than 32 MiB cost its allocator more than a larger batch gains.
    """
    if device.type != "cpu":
        return max(1, min(MOST_AT_ONCE, GPU_SAMPLES // entry.input_samples))
    in_cache = CPU_BYTES // max(1, entry.cost(n_tags).training_bytes)
    return max(1, min(in_cache, CPU_SAMPLES // entry.input_samples))


def cut(blocks: Iterable[NDArray[np.float32]], length: int) -> Iterator[NDArray[np.float32]]:
    """Non-overlapping segments from sample 0 of a wave that comes in blocks.

    An incomplete last segment is left out, unless it is the only one: then it is filled up with zeros.
    yields: (length,) each.
    """
    waiting: list[NDArray[np.float32]] = []  # of less than a segment together
    held, found = 0, False
    for block in blocks:
        waiting.append(block)
        held += len(block)
        if held >= length:
            wave = np.concatenate(waiting)
            whole = held - held % length
            yield from wave[:whole].reshape(-1, length)
            waiting, held, found = [wave[whole:]], held - whole, True
    if not found:
        yield np.pad(np.concatenate(waiting), (0, length - held))


def load(uri: str | Path, device: str = "cpu") -> Tagger:
    """Load a trained network.

    uri:    a folder of a checkpoint or of a trial, a trial's signature, runs:/<run>/checkpoint,
            models:/<name>@<alias> or models:/<name>/<version>; the last three from MLFLOW_TRACKING_URI or the project's
            own store.
    device: where the network is to run, such as "cuda".
    raises: ZooError if there is no such thing, CheckpointError (one of them) if it is damaged.
    """
    with fetched(uri) as (folder, source):
        network, card = read(folder)
    return Tagger(network.to(device), card, source)
