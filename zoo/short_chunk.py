"""Short-chunk CNNs: seven 3x3 convolutions on a mel spectrogram of 3.69 s, without and with ways past them.

Won et al. 2020 found these plain networks the best or near it; both end in a global maximum and a dense layer.
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

__all__ = ["FAMILY", "WIDTHS"]

BANDS = 128
INPUT_SAMPLES = 59_049  # SampleCNN's segment, at 16 kHz
WIDTHS = (1, 1, 2, 2, 2, 2, 4)  # times `channels`

OPTIONS: Mapping[str, Option] = {
    "block": Option(
        "plain",
        "a convolution and pooling of 2, or two convolutions with a stride of 2 and a way past them",
        choices=("plain", "residual"),
        in_name=True,
    ),
    "channels": Option(
        128, "feature maps of the first two blocks; others have two and four times as many", low=1, high=512
    ),
    **won2020.DROPOUT,
}

LISTED = (
    Listing(
        name="short_chunk",
        options={"block": "plain"},
        description="7 convolutions of 128 to 512 maps, each pooled by 2, and a global maximum",
        certainty=Certainty("A", "every layer read in the authors' code; the AUCs are from memory"),
        paper=won2020.rows(0.9126, 0.8883),
        counted=Counted(3_687_348, origin="reference"),
    ),
    Listing(
        name="short_chunk_res",
        options={"block": "residual"},
        description="7 residual blocks of 128 to 512 maps with a stride of 2, and a global maximum",
        certainty=Certainty(
            "A",
            "every layer read in the authors' code, 3x3 convolutions past the blocks included; the AUC of MTAT read on "
            "Papers with Code, that of MSD from memory",
        ),
        paper=(*won2020.rows(0.9129, None, "B"), *won2020.rows(None, 0.8898)),
        counted=Counted(12_104_244, origin="reference"),
    ),
)


def input_samples(options: Mapping[str, Value]) -> int:
    """3.69 s, whatever the options."""
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """The convolutions on the longest way and the dense layer behind the maximum."""
    return len(WIDTHS) * (2 if options["block"] == "residual" else 1) + 1


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one frame before the global maximum sees, zeros at the ends included."""
    block = ((3, 2), (3, 1)) if options["block"] == "residual" else ((3, 1), (2, 2))
    return samples_seen(block * len(WIDTHS), won2020.FFT_SAMPLES, won2020.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front`, `body.1` to `body.7`, `top` (maximum), `embedding` (dense), `dropout`."""
    from torch import nn

    from zoo.layers.blocks1d import DenseBlock
    from zoo.layers.blocks2d import ConvBlock2d, GlobalMax, ResidualBlock, numbered, won_mel
    from zoo.network import WaveNetwork

    options = entry.options
    widths = [factor * int(options["channels"]) for factor in WIDTHS]
    pairs = list(zip([1, *widths], widths, strict=False))
    blocks: list[nn.Module]
    if options["block"] == "residual":
        blocks = [ResidualBlock(before, after, stride=(2, 2)) for before, after in pairs]
    else:
        blocks = [ConvBlock2d(before, after, pool=(2, 2)) for before, after in pairs]
    stages = {
        "front": won_mel(BANDS),
        "body": numbered(blocks),
        "top": GlobalMax(),
        "embedding": DenseBlock(widths[-1], widths[-1]),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    return WaveNetwork(entry, n_tags, widths[-1], stages)


FAMILY = Family(
    name="short_chunk",
    source=f"{won2020.SOURCE}; {won2020.CODE}",
    options=OPTIONS,
    listed=LISTED,
    input_samples=input_samples,
    build=build,
    sample_rate_hz=won2020.SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=won2020.TRAINED,
)
