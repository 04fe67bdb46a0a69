"""musicnn: filters shaped by what music is made of, on a mel spectrogram of 3 s. Pons et al. 2018.

Tall filters hear timbre, long ones rhythm; three convolutions over time and a dense layer sum them up. The form is that
of Won et al. 2020 in torch, who have the long filters read the mean of all bands; the authors' TensorFlow release
slides them over every band and keeps the maximum, and normalises behind the ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, PaperRow, Value
from zoo.layers import won2020
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY"]

SOURCE = (
    "Pons, Nieto, Prockup, Schmidt, Ehmann, Serra: End-to-end Learning for Music Audio Tagging at Scale, ISMIR 2018, "
    "https://arxiv.org/abs/1711.02520; in the form of "
)
BANDS = 96
INPUT_SAMPLES = 48_000  # 3 s
TALL = (67, 38)  # bands: 0.7 and 0.4 of all
TALL_FRAMES = 7
LONG = (129, 65, 33)  # frames
KERNEL = 7  # frames of the convolutions behind the filters

OPTIONS: Mapping[str, Option] = {
    "tall": Option(204, "filters of each of the two tall sizes", low=1, high=1024),
    "long": Option(51, "filters of each of the three long sizes", low=1, high=1024),
    "middle": Option(64, "filters of each convolution behind them", low=1, high=2048),
    "dense": Option(200, "units of the dense layer", low=1, high=4096),
    **won2020.DROPOUT,
}

READ = "every layer read in the torch code of Won et al.; all AUCs are from memory"
LISTED = (
    Listing(
        name="musicnn",
        options={},
        description="tall and long filters (561), 3 convolutions of 64 over time, maximum and mean, 200 dense units",
        certainty=Certainty(
            "A", f"{READ}, those of the TensorFlow release belong to a slightly different front"
        ),
        paper=(
            *won2020.rows(0.9106, None),
            PaperRow("pons2019", "mtat", "all", 0.9069, "C"),
            PaperRow("pons2019", "msd", "paper", 0.8801, "C"),
        ),
        counted=Counted(784_300, origin="reference"),
    ),
    Listing(
        name="musicnn_big",
        options={"middle": 512, "dense": 500},
        description="tall and long filters (561), 3 convolutions of 512 over time, maximum and mean, 500 dense units",
        certainty=Certainty("A", f"{READ}; this is the size that Won et al. trained on MSD"),
        paper=(*won2020.rows(None, 0.8788), PaperRow("pons2019", "msd", "paper", 0.8841, "C")),
        counted=Counted(7_972_000, origin="reference"),
    ),
)


def input_samples(options: Mapping[str, Value]) -> int:
    """3 s, whatever the options."""
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """A filter, three convolutions, the dense layer."""
    return 5


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one frame before the maximum and mean sees, zeros at the ends included."""
    layers = [(max(LONG), 1), *[(KERNEL, 1)] * 3]
    return samples_seen(layers, won2020.FFT_SAMPLES, won2020.HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front`, `filters.1` to `filters.5`, `body`, `top`, `embedding` (dense), `dropout`."""
    from torch import nn

    from zoo.layers.blocks1d import DenseBlock
    from zoo.layers.blocks2d import won_mel
    from zoo.layers.pons import DenselyConnected, Filters, Horizontal, MaxAndMean, Vertical
    from zoo.network import WaveNetwork

    options = entry.options
    tall, long, middle, dense = (int(options[key]) for key in ("tall", "long", "middle", "dense"))
    channels = tall * len(TALL) + long * len(LONG)
    stages = {
        "front": won_mel(BANDS),
        "filters": Filters(
            *(Vertical(tall, bands, TALL_FRAMES) for bands in TALL),
            *(Horizontal(long, frames) for frames in LONG),
        ),
        "body": DenselyConnected(channels, middle, KERNEL),
        "top": MaxAndMean(),
        "embedding": DenseBlock(2 * (channels + 3 * middle), dense),
        "dropout": nn.Dropout(float(options["dropout"])),
    }
    return WaveNetwork(entry, n_tags, dense, stages)


FAMILY = Family(
    name="musicnn",
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
