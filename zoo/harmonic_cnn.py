"""Harmonic CNN: a CNN on a spectrogram whose channels are the overtones of each pitch. Won et al. 2020.

Six harmonics of 128 half semitones go through filters of which one number is learned, then through seven blocks of
3x3 convolutions, five of them with a way past them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, Value
from zoo.layers import won2020
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY", "PLAN"]

SOURCE = (
    "Won, Chun, Nieto, Serra: Data-Driven Harmonic Filters for Audio Representation Learning, ICASSP 2020; "
    "compared in "
)
INPUT_SAMPLES = 80_000  # 5 s
# Of each block: channels as a multiple of `channels`, (bands, frames) pooled, and whether there is a way past it.
PLAN = (
    (1, (2, 2), False),
    *[(1, (2, 2), True)] * 3,
    (2, (2, 2), False),
    *[(2, (2, 3), True)] * 2,
)

OPTIONS: Mapping[str, Option] = {
    "harmonics": Option(6, "overtones of a band, the fundamental included", low=1, high=6),
    "channels": Option(
        128, "feature maps of the first four blocks; the others have twice as many", low=1, high=512
    ),
    **won2020.DROPOUT,
}

LISTED = (
    Listing(
        name="harmonic_cnn",
        options={},
        description="6 harmonics of 128 bands through learned filters, 7 blocks of 128 to 256 maps, a global maximum",
        certainty=Certainty(
            "A",
            "every layer read in the authors' code, which takes an FFT of 512 samples where its front end alone would "
            "take 513; the AUCs are from memory",
        ),
        paper=won2020.rows(0.9127, 0.8898),
        counted=Counted(3_631_551, origin="reference"),
    ),
)


def input_samples(options: Mapping[str, Value]) -> int:
    """5 s, whatever the options."""
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """The convolutions on the longest way and the dense layer behind the maximum."""
    return sum(2 if residual else 1 for _, _, residual in PLAN) + 1


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one frame before the global maximum sees, zeros at the ends included."""
    layers: list[tuple[int, int]] = []
    for _, (_, frames), residual in PLAN:
        layers += [(3, 1)] * (2 if residual else 1) + [(frames, frames)]
    return samples_seen(layers, won2020.FFT_SAMPLES, won2020.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front`, `body.1` to `body.7`, `top` (maximum), `embedding` (dense), `dropout`."""
    from torch import nn

    from zoo.layers.blocks1d import DenseBlock
    from zoo.layers.blocks2d import ConvBlock2d, GlobalMax, ResidualBlock, numbered
    from zoo.layers.harmonic import HarmonicFront
    from zoo.network import WaveNetwork

    options = entry.options
    harmonics = int(options["harmonics"])
    blocks: list[nn.Module] = []
    channels = harmonics
    for factor, pool, residual in PLAN:
        block = ResidualBlock if residual else ConvBlock2d
        blocks.append(block(channels, factor * int(options["channels"]), pool=pool))
        channels = factor * int(options["channels"])
    stages = {
        "front": HarmonicFront(entry.sample_rate_hz, won2020.FFT_SAMPLES, won2020.HOP_SAMPLES, harmonics),
        "body": numbered(blocks),
        "top": GlobalMax(),
        "embedding": DenseBlock(channels, channels),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    return WaveNetwork(entry, n_tags, channels, stages)


FAMILY = Family(
    name="harmonic_cnn",
    source=f"{SOURCE}{won2020.SOURCE}; {won2020.CODE}",
    options=OPTIONS,
    listed=LISTED,
    input_samples=input_samples,
    build=build,
    sample_rate_hz=won2020.SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=won2020.TRAINED,
)
