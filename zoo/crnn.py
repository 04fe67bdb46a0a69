"""Convolutional recurrent networks on mel spectrograms: Choi et al. 2017.

Four convolutions take 96 bands and 1440 frames down to 15 frames of one band, and two layers of gated recurrent units
read these in order. `crnn` is the network that the authors released, `crnn_3m` the largest one of their paper, which is
the row "CRNN" of Table 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, PaperRow, Value
from zoo.layers import choi2016
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY"]

SOURCE = (
    "Choi, Fazekas, Sandler, Cho: Convolutional Recurrent Neural Networks for Music Classification, ICASSP 2017, "
    "https://arxiv.org/abs/1609.04243"
)
POOLS = ((2, 2), (3, 3), (4, 4), (4, 4))  # 96 bands -> 1, 1440 frames -> 15
PAD_FRAMES = 37  # zeros on both sides: 1366 + 2 * 37 = 1440

OPTIONS: Mapping[str, Option] = {
    "first": Option(64, "feature maps of the first convolution", low=1, high=1024),
    "maps": Option(128, "feature maps of the other three convolutions", low=1, high=1024),
    "units": Option(32, "units of each recurrent layer", low=1, high=1024),
    "block_dropout": Option(
        0.1, "share left out in training behind every convolution", low=0, high=0.95, harmless=True
    ),
    "dropout": Option(0.3, "share of the last state left out in training", low=0, high=0.95, harmless=True),
    "init": Option(
        "keras",
        "first weights: Keras's defaults, which the authors took, or torch's own",
        choices=("keras", "torch"),
        harmless=True,
    ),
}

GRU = "torch's GRU resets behind the product and has smooth gates; Keras 1 reset before it and had hard sigmoids"
LISTED = (
    Listing(
        name="crnn",
        options={},
        description="4 convolutions of 64 to 128 maps and 2 recurrent layers of 32 units, as released",
        certainty=Certainty(
            "A",
            "every layer read in the authors' code (music_tagger_crnn.py of their repository) and released weights, "
            f"where batch norm of the input runs over frames. {GRU}",
        ),
        paper=(PaperRow("choi2016crnn", "msd", "paper", 0.8662),),
        counted=Counted(
            396_786, "torch's GRU has a second bias for each gate: 3 * 32 in each of 2 layers, 192 more"
        ),
        source=f"{SOURCE}; MusicTaggerCRNN in {choi2016.RELEASE}",
    ),
    Listing(
        name="crnn_3m",
        options={"first": 169, "maps": 339, "units": 169},
        description="4 convolutions of 169 to 339 maps and 2 recurrent layers of 169 units, the paper's largest",
        certainty=Certainty(
            "C",
            "widths 169, 339, 339, 339, 169, 169 from an unnamed source; they give the paper's 3.0 million. "
            f"Padding, norms and dropout are those of the release, by assumption. {GRU}",
        ),
        paper=(PaperRow("table4", "msd", "paper", 0.862),),
        counted=Counted(
            3_000_000, "the paper rounds; the norm of the input over 1440 frames alone has 2880 parameters"
        ),
    ),
)


def input_samples(options: Mapping[str, Value]) -> int:
    """29.12 s, whatever the options."""
    return choi2016.INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """Four convolutions and two recurrent layers."""
    return len(POOLS) + 2


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one of the 15 frames sees, zeros at the ends included."""
    layers = [step for _, frames in POOLS for step in ((3, 1), (frames, frames))]
    return samples_seen(layers, choi2016.FFT_SAMPLES, choi2016.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front` (spectrogram), `body.1` to `body.4`, `top` (recurrent), `dropout`."""
    from torch import nn

    from zoo.layers.blocks2d import ConvBlock2d, FrameNorm, MelImage, choi_mel, numbered
    from zoo.layers.recurrent import GruTop, keras_gru
    from zoo.network import WaveNetwork, initialise

    options = entry.options
    first, maps, units = (int(options[key]) for key in ("first", "maps", "units"))
    dropout = float(options["block_dropout"])
    blocks = [
        ConvBlock2d(before, after, pool=pool, activation="elu", dropout=dropout)
        for before, after, pool in zip((1, first, maps, maps), (first, maps, maps, maps), POOLS, strict=True)
    ]
    norm = FrameNorm(choi2016.FRAMES + 2 * PAD_FRAMES)
    top = GruTop(maps, units)
    stages = {
        "front": MelImage(choi_mel("none"), norm, pad=(PAD_FRAMES, PAD_FRAMES)),
        "body": numbered(blocks),
        "top": top,
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    network = WaveNetwork(entry, n_tags, units, stages)
    if options["init"] == "keras":
        initialise(network, "glorot_uniform")
        keras_gru(top.gru_1)
        keras_gru(top.gru_2)
    return network


FAMILY = Family(
    name="crnn",
    source=SOURCE,
    options=OPTIONS,
    listed=LISTED,
    input_samples=input_samples,
    build=build,
    sample_rate_hz=choi2016.SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=choi2016.TRAINED,
)
