"""Self-attention over the frames of a CNN, on a mel spectrogram of 15 s: Won et al. 2019.

Seven residual blocks take 128 bands to one and 938 frames to 118; two transformer layers look at all of them at once,
and what they make of a class token before the frames is the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.errors import ZooError
from zoo.facts import Certainty, Counted, Value
from zoo.layers import won2020
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY", "PLAN"]

SOURCE = (
    "Won, Chun, Serra: Toward Interpretable Music Tagging with Self-Attention, 2019, https://arxiv.org/abs/1906.04972; "
    "compared in "
)
BANDS = 128
INPUT_SAMPLES = 240_000  # 15 s
# Of each residual block: feature maps as a multiple of `channels`, and its stride (bands, frames).
PLAN = ((1, (2, 2)), (1, (2, 2)), (2, (2, 2)), *[(2, (2, 1))] * 4)

OPTIONS: Mapping[str, Option] = {
    "channels": Option(
        128, "feature maps of the first two blocks; the others have twice as many", low=1, high=512
    ),
    "layers": Option(2, "transformer layers", low=1, high=24),
    "heads": Option(8, "heads of each; their number divides the maps of the last block", low=1, high=64),
    "hidden": Option(1024, "width between the two dense layers of each", low=1, high=8192),
    "layer_dropout": Option(
        0.4, "share of each layer's outputs left out in training", low=0, high=0.95, harmless=True
    ),
    "attention_dropout": Option(
        0.5, "share of the attention's weights left out in training", low=0, high=0.95, harmless=True
    ),
    **won2020.DROPOUT,
}

LISTED = (
    Listing(
        name="cnnsa",
        options={},
        description="7 residual blocks of 128 to 256 maps, 2 transformer layers of 8 heads over 118 frames",
        certainty=Certainty(
            "A",
            "every layer read in the authors' code, class token of seed 0 included; its encoder gives a list with the "
            "tokens after each layer, of which it takes the last entry, and the pooler then the class token. The AUCs "
            "are from memory",
        ),
        paper=won2020.rows(0.9077, 0.8810),
        counted=Counted(10_521_652, origin="reference"),
    ),
)


def input_samples(options: Mapping[str, Value]) -> int:
    """15 s, whatever the options. Raises ZooError if the heads cannot share the maps evenly."""
    width, heads = PLAN[-1][0] * int(options["channels"]), int(options["heads"])
    if width % heads:
        raise ZooError(
            f"heads={heads} cannot share the last block's {width} maps evenly; take a number that divides {width}"
        )
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """Two convolutions a block, four dense layers on the way through each transformer layer, and the pooler."""
    return 2 * len(PLAN) + 4 * int(options["layers"]) + 1


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one frame before the transformer sees, zeros at the ends included."""
    layers = [step for _, (_, frames) in PLAN for step in ((3, frames), (3, 1))]
    return samples_seen(layers, won2020.FFT_SAMPLES, won2020.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front`, `body.1` to `body.7`, `top` (transformer), `embedding` (pooler), `dropout`."""
    from torch import nn

    from zoo.layers.attention import AttentionTop, Pooler
    from zoo.layers.blocks2d import ResidualBlock, numbered, won_mel
    from zoo.network import WaveNetwork

    options = entry.options
    widths = [factor * int(options["channels"]) for factor, _ in PLAN]
    blocks = [
        ResidualBlock(before, after, stride=stride)
        for before, after, (_, stride) in zip([1, *widths[:-1]], widths, PLAN, strict=True)
    ]
    stages = {
        "front": won_mel(BANDS),
        "body": numbered(blocks),
        "top": AttentionTop(
            widths[-1],
            layers=int(options["layers"]),
            heads=int(options["heads"]),
            hidden=int(options["hidden"]),
            dropout=float(options["layer_dropout"]),
            attention_dropout=float(options["attention_dropout"]),
        ),
        "embedding": Pooler(widths[-1]),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    return WaveNetwork(entry, n_tags, widths[-1], stages)


FAMILY = Family(
    name="cnnsa",
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
