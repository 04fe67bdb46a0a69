"""Fully convolutional networks on mel spectrograms: FCN-4 to FCN-7 of Choi et al. 2016, and the net they released.

3x3 convolutions and max pooling take 96 bands and 1366 frames down to one point, which the dense layer reads. FCN-4
and FCN-6 are the row "2D CNN" of Table 4. FCN-3 stands in no source at hand with its widths, so it is not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, PaperRow, Value
from zoo.layers import choi2016
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY", "PLANS", "Plan"]

SOURCE = (
    "Choi, Fazekas, Sandler: Automatic Tagging Using Deep Convolutional Neural Networks, ISMIR 2016, "
    "https://arxiv.org/abs/1606.00298"
)


@dataclass(frozen=True)
class Plan:
    """The convolutions of one network.

    maps:       feature maps of each 3x3 convolution.
    pools:      (bands, frames) pooled after each.
    points:     feature maps of the 1x1 convolutions behind them.
    activation: "relu" or "elu".
    frame_norm: the spectrogram goes through batch norm first, with a scale for every frame.
    """

    maps: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]
    points: tuple[int, ...] = ()
    activation: str = "relu"
    frame_norm: bool = False


FIVE_MAPS = (128, 256, 512, 1024, 2048)
FIVE_POOLS = ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4))
PLANS = {
    "fcn4": Plan((128, 384, 768, 2048), ((2, 4), (4, 5), (3, 8), (4, 8))),
    "fcn5": Plan(FIVE_MAPS, FIVE_POOLS),
    "fcn6": Plan(FIVE_MAPS, FIVE_POOLS, (1024,)),
    "fcn7": Plan(FIVE_MAPS, FIVE_POOLS, (1024, 1024)),
    "fcn5_release": Plan((32, 128, 128, 192, 256), FIVE_POOLS, (), "elu", frame_norm=True),
}

OPTIONS: Mapping[str, Option] = {
    "plan": Option("fcn5", "feature maps and pooling of every layer", choices=tuple(PLANS), in_name=True),
    "width": Option(1.0, "factor on the feature maps of every layer", low=0.125, high=2),
    "dropout": Option(
        0.5, "share left out in training behind every convolution", low=0, high=0.95, harmless=True
    ),
    "init": Option(
        "he_normal",
        "first weights of the convolutions: as the authors' code drew them, or torch's own",
        choices=("he_normal", "torch"),
        harmless=True,
    ),
}

DOUBT = "the authors' slides call the paper's numbers on MSD incorrect, not reproduced"
MSD = f"{DOUBT.capitalize()}; their reruns of FCN-3, 4 and 5 gave .839, .852 and .855"
COUNTED = {
    "fcn4": Counted(17_365_938, origin="reference"),
    "fcn5": Counted(25_180_000, "noted in millions, to two decimals", "reference"),
    "fcn6": Counted(27_200_000, "noted in millions, to one decimal", "reference"),
    "fcn5_release": Counted(865_950),
}
SHARED = (
    "3x3 and ReLU are in the authors' slides, dropout .5 is from memory, standardised decibels are our choice"
)
CERTAINTY = {
    "fcn4": Certainty(
        "B", f"maps and pools read in MindSpore's FCN-4; 2048 at the top in the slides. {SHARED}. {MSD}"
    ),
    "fcn5": Certainty(
        "C",
        f"128 first and 2048 last in the slides, pools in a Keras tagger, maps between from memory. {SHARED}. {MSD}",
    ),
    "fcn6": Certainty("C", f"FCN-5 and a 1x1 convolution; its 1024 maps are from memory. {SHARED}. {MSD}"),
    "fcn7": Certainty(
        "C", f"FCN-5 and two 1x1 convolutions; their 1024 maps are from memory. {SHARED}. {MSD}"
    ),
    "fcn5_release": Certainty(
        "A",
        "shapes of the released weights and the authors' first code (ELU, dropout .5, he_normal); batch norm of the "
        "input runs over frames, as in the weights. Their script squares the power mel spectrum and cuts 80 dB below "
        "the loudest value of the clip; here it is decibels of power, uncut",
    ),
}


def _doubted(table: str, auc: float) -> PaperRow:
    return PaperRow(table, "msd", "paper", auc, doubt=DOUBT)


def _rerun(auc: float) -> PaperRow:
    return PaperRow("choi2016slides", "msd", "paper", auc)


def _listings() -> Iterator[Listing]:
    table4, own = "table4", "choi2016"
    rows = {
        "fcn4": (PaperRow(table4, "mtat", "paper", 0.894), _doubted(own, 0.808), _rerun(0.852)),
        "fcn5": (PaperRow(own, "mtat", "paper", 0.890), _doubted(own, 0.848), _rerun(0.855)),
        "fcn6": (_doubted(table4, 0.851),),
        "fcn7": (_doubted(own, 0.845),),
        "fcn5_release": (PaperRow(own, "msd", "paper", 0.8654),),
    }
    for name, plan in PLANS.items():
        released = name == "fcn5_release"
        layers = f"{len(plan.maps)} convolutions" + (f", {len(plan.points)} of 1x1" if plan.points else "")
        kind = "the narrow FCN-5 that its authors released" if released else f"FCN-{name[3:]}: 2D CNN on mel"
        yield Listing(
            name=name,
            options={"plan": name},
            description=f"{kind}, {layers} of {plan.maps[0]} to {plan.maps[-1]} maps",
            certainty=CERTAINTY[name],
            paper=rows[name],
            counted=COUNTED.get(name),
            source=f"{SOURCE}; MusicTaggerCNN in {choi2016.RELEASE}" if released else "",
        )


def _plan(options: Mapping[str, Value]) -> Plan:
    return PLANS[str(options["plan"])]


def input_samples(options: Mapping[str, Value]) -> int:
    """29.12 s, whatever the options."""
    return choi2016.INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """Every convolution."""
    return len(_plan(options).maps) + len(_plan(options).points)


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that the one point behind the last pooling sees, zeros at the ends included."""
    layers = [step for _, frames in _plan(options).pools for step in ((3, 1), (frames, frames))]
    return samples_seen(layers, choi2016.FFT_SAMPLES, choi2016.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front` is the spectrogram, `body.1` to `body.n` the convolutions."""
    from torch import nn

    from zoo.layers.blocks2d import ConvBlock2d, FrameNorm, MelImage, choi_mel, he_normal, numbered
    from zoo.network import WaveNetwork

    options, plan, blocks, channels = entry.options, _plan(entry.options), [], 1
    kernels = [(maps, 3, pool) for maps, pool in zip(plan.maps, plan.pools, strict=True)]
    for maps, kernel, pool in [*kernels, *((maps, 1, (1, 1)) for maps in plan.points)]:
        width, dropout = max(1, round(maps * float(options["width"]))), float(options["dropout"])
        blocks.append(
            ConvBlock2d(
                channels, width, kernel=kernel, pool=pool, activation=plan.activation, dropout=dropout
            )
        )
        channels = width
    norm = FrameNorm(choi2016.FRAMES) if plan.frame_norm else nn.Identity()
    front = MelImage(choi_mel("none" if plan.frame_norm else "whole"), norm)
    stages = {"front": front, "body": numbered(blocks), "embedding": nn.Flatten(1)}
    network = WaveNetwork(entry, n_tags, channels, stages)
    if options["init"] == "he_normal":
        he_normal(network)
    return network


FAMILY = Family(
    name="fcn",
    source=SOURCE,
    options=OPTIONS,
    listed=tuple(_listings()),
    input_samples=input_samples,
    build=build,
    sample_rate_hz=choi2016.SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=choi2016.TRAINED,
)
