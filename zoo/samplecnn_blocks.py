"""Sample-level networks with the building blocks of image networks: residual and squeeze-and-excitation.

`samplecnn_rese2_multi` has blocks of two convolutions with both, and its classifier reads the top three blocks;
without `_multi` it reads the last one. All see 3^9 * 3 = 59049 samples, as samplecnn_m3_n9_s3 does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, HowTrained, PaperRow, Value
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY", "TABLE"]

SOURCE = (
    "Kim, Lee, Nam: Sample-level CNN Architectures for Music Auto-tagging Using Raw Waveforms, ICASSP 2018, "
    "https://arxiv.org/abs/1710.10451"
)
INPUT_SAMPLES = 59049
FIRST_FILTERS = 128
WIDTHS = (128, 128, *[256] * 6, 512)
EPSILON, MOMENTUM = 1e-3, 0.01  # Keras 2's batch norm, the moving share counted as torch counts it

# Table 1: block, macro ROC-AUC on MTAT with three levels and with one.
TABLE = (
    ("basic", 0.9077, 0.9055),
    ("se", 0.9111, 0.9083),
    ("res1", 0.9037, 0.9048),
    ("res2", 0.9098, 0.9061),
    ("rese1", 0.9053, 0.9066),
    ("rese2", 0.9113, 0.9102),
)
MSD = {"se": 0.8840, "rese2": 0.8847}  # of the networks with three levels
PARAMETERS = {
    ("basic", 1): 1_869_874,
    ("se", 3): 24_742_706,
    ("res2", 3): 4_920_882,
    ("rese2", 3): 26_980_146,
}
WORDS = {
    "basic": "plain blocks",
    "se": "blocks with squeeze-and-excitation",
    "res1": "residual blocks of one convolution",
    "res2": "residual blocks of two convolutions",
    "rese1": "residual blocks of one convolution with squeeze-and-excitation",
    "rese2": "residual blocks of two convolutions with squeeze-and-excitation",
}

OPTIONS: Mapping[str, Option] = {
    "block": Option("se", "what the nine blocks are made of", choices=tuple(WORDS), in_name=True),
    "levels": Option(3, "how many of the top blocks the classifier reads", low=1, high=9, in_name=True),
    "ratio": Option(
        16, "units of squeeze-and-excitation between its dense layers, per channel", low=1, high=64
    ),
    "block_dropout": Option(
        0.2,
        "share left out in training between the two convolutions of a block",
        low=0,
        high=0.95,
        harmless=True,
    ),
    "dropout": Option(0.5, "share of the embedding left out in training", low=0, high=0.95, harmless=True),
    "init": Option(
        "he_uniform",
        "scale of the first weights of the convolutions of 3 samples",
        choices=("he_uniform", "glorot_uniform"),
        harmless=True,
    ),
}


def input_samples(options: Mapping[str, Value]) -> int:
    """3^9 * 3 samples, whatever the blocks."""
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """The strided convolution, nine blocks, the dense layer; what only scales channels is not counted."""
    return 2 + len(WIDTHS) * (2 if str(options["block"]).endswith("2") else 1)


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples behind one frame of the last block; what excitation reads of the whole segment is left out."""
    filters = 2 if str(options["block"]).endswith("2") else 1
    return samples_seen([*[(3, 1)] * filters, (3, 3)] * len(WIDTHS), 3, 3)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front`, blocks `body.1` to `body.9` with their maxima, dense `embedding`."""
    from torch import nn

    from zoo.layers.blocks1d import DenseBlock, TopLevels
    from zoo.layers.tower import ConvBlock
    from zoo.network import WaveNetwork, initialise

    options = entry.options
    body: OrderedDict[str, nn.Module] = OrderedDict()
    channels = FIRST_FILTERS
    for i, width in enumerate(WIDTHS, start=1):
        body[str(i)] = _block(channels, width, options)
        channels = width
    width = sum(WIDTHS[-int(options["levels"]) :])
    front = ConvBlock(1, FIRST_FILTERS, 3, stride=3)
    if str(options["block"]) in ("basic", "se"):
        front.next_block = (3, 1)
    stages = {
        "front": front,
        "body": TopLevels(body, int(options["levels"])),
        "embedding": DenseBlock(width, width),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    network = WaveNetwork(entry, n_tags, width, stages)
    initialise(network, str(options["init"]))
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps, layer.momentum = EPSILON, MOMENTUM
        elif name.endswith("shortcut"):  # its 1x1 convolutions begin as the authors' do
            initialise(layer, "glorot_uniform")
    return network


def _block(channels_in: int, channels_out: int, options: Mapping[str, Value]) -> nn.Module:
    from zoo.layers.blocks1d import ExcitedBlock, ResidualBlock
    from zoo.layers.tower import ConvBlock

    kind, ratio = str(options["block"]), int(options["ratio"])
    if kind == "basic":
        return ConvBlock(channels_in, channels_out, 3, pad=(1, 1), pool=3)
    if kind == "se":
        return ExcitedBlock(channels_in, channels_out, ratio)
    return ResidualBlock(
        channels_in,
        channels_out,
        convolutions=int(kind[-1]),
        ratio=ratio if kind.startswith("rese") else 0,
        dropout=float(options["block_dropout"]),
    )


def certainty_of(block: str) -> Certainty:
    """How sure the layers of a kind of block are."""
    if block.endswith("1"):
        return Certainty(
            "C",
            "the authors' released code has no blocks of one convolution; ours are its blocks of two without the "
            "second convolution, ReLU and dropout",
        )
    return Certainty("A", "layers, norms and first weights as in the authors' released code")


def _listing(block: str, levels: int, auc: float) -> Listing:
    rows = [PaperRow("kim2018", "mtat", "paper", auc, "B")]
    if levels > 1 and block in MSD:
        rows.append(PaperRow("kim2018", "msd", "paper", MSD[block], "B"))
    parameters = PARAMETERS.get((block, levels))
    read = f"the classifier reads the top {levels}" if levels > 1 else "the classifier reads the last"
    return Listing(
        name=f"samplecnn_{block}" + ("_multi" if levels > 1 else ""),
        options={"block": block, "levels": levels},
        description=f"sample-level 1D CNN of nine {WORDS[block]}; {read}",
        certainty=certainty_of(block),
        paper=tuple(rows),
        counted=None if parameters is None else Counted(parameters, origin="reference"),
    )


FAMILY = Family(
    name="samplecnn_blocks",
    source=SOURCE,
    options=OPTIONS,
    listed=tuple(
        _listing(block, levels, auc)
        for block, with_three, with_one in TABLE
        for levels, auc in ((1, with_one), (3, with_three))
    ),
    input_samples=input_samples,
    build=build,
    sample_rate_hz=22050,
    depth=depth,
    receptive_field=receptive_field,
    trained=HowTrained(
        optimizer="nesterov",
        learning_rate=0.01,
        batch_size=23,
        norm_momentum=MOMENTUM,
        note="A: momentum .9; five stages, each at a fifth of the rate of the one before, ended by a patience of 2 "
        "epochs, from its best weights; within a stage the rate falls as 1 / (1 + 1e-6 updates); no weight decay",
    ),
)
