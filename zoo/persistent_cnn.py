"""The persistent CNN of Liu, Jeng and Yang 2016: a mel network that also reads how prominent the peaks in time are.

One convolution filters the frames of a clip. On patches of 32 frames, a convolution of its own and a maximum sum up
each patch (the FCN), or persistence landscapes do (P-FCN), or both (PC-FCN); 1x1 convolutions tag every patch, and
the mean of the patches' probabilities is the clip's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.facts import Certainty, Counted, HowTrained, PaperRow, Value
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY"]

NAME = "persistent_cnn"
SOURCE = (
    "Liu, Jeng, Yang: Applying Topological Persistence in Convolutional Neural Network for Music Audio Signals, "
    "2016, https://arxiv.org/abs/1608.07373"
)
SAMPLE_RATE_HZ = 16000
WINDOW_SAMPLES = HOP_SAMPLES = 512
FRAMES, BANDS = 911, 128
INPUT_SAMPLES = (FRAMES - 1) * HOP_SAMPLES  # the first and the last frame are centred on the ends
KERNEL, POOL, PATCH = 8, 4, 32
POINTS, STEP = 10, 0.5
BRANCH = 3200  # filters beside the landscapes

OPTIONS: Mapping[str, Option] = {
    "branches": Option(
        "both",
        "what sums up a patch: a convolution, its persistence landscapes, or both",
        choices=("convolution", "landscape", "both"),
        in_name=True,
    ),
    "functions": Option(
        5, "landscape functions of each channel, the largest first", low=1, high=PATCH, in_name=True
    ),
    "filters": Option(64, "filters of the first convolution", low=1, high=4096),
    "hidden": Option(512, "width of the two 1x1 convolutions before the tags", low=1, high=8192),
    "dropout": Option(
        0.5, "share left out in training before each 1x1 convolution", low=0, high=0.95, harmless=True
    ),
}


def input_samples(options: Mapping[str, Value]) -> int:
    """911 frames: 29.12 seconds."""
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """The first convolution, the one of a patch if there is one, two 1x1 convolutions."""
    return 3 + (options["branches"] != "landscape")


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples behind one patch: 32 pools of 4 frames, each filtered over 8."""
    return samples_seen([(KERNEL, 1), (POOL, POOL), (PATCH, PATCH)], WINDOW_SAMPLES, HOP_SAMPLES)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: spectrogram `front`, convolution `body`, `patches`, 1x1 convolutions `top`."""
    from zoo.layers.frontends import LogMel
    from zoo.layers.patches import MeanOfProbabilities, patch_convolutions, patch_summary
    from zoo.layers.tower import same_pad
    from zoo.network import WaveNetwork, initialise

    options = entry.options
    filters, hidden = int(options["filters"]), int(options["hidden"])
    front = LogMel(
        sample_rate_hz=entry.sample_rate_hz,
        fft_samples=WINDOW_SAMPLES,
        window_samples=WINDOW_SAMPLES,
        hop_samples=HOP_SAMPLES,
        bands=BANDS,
        power=2.0,
        compression="log(1+10000x)",
        standardise="band",
    )
    summary, width = patch_summary(
        filters,
        PATCH,
        convolution=0 if options["branches"] == "landscape" else BRANCH,
        functions=0 if options["branches"] == "convolution" else int(options["functions"]),
        points=POINTS,
        step=STEP,
    )
    stages = {
        "front": front,
        "body": _first_convolution(filters, same_pad(KERNEL, "theano")),
        "patches": summary,
        "top": patch_convolutions(width, hidden, float(options["dropout"])),
    }
    network = WaveNetwork(entry, n_tags, hidden, stages, readout=MeanOfProbabilities())
    initialise(network, "glorot_uniform")
    return network


def _first_convolution(filters: int, pad: tuple[int, int]) -> nn.Module:
    from zoo.layers.blocks1d import PlainBlock

    return PlainBlock(BANDS, filters, KERNEL, pad=pad, pool=POOL, keep_end=True)


NOTE = (
    "A: layers, padding, the first 7 patches where the branches have 8 and 7, in the authors' code "
    "(https://github.com/ciaua/PersistenceNetwork), released with a later version of the paper; C: the spectrum's "
    "power of 2, from an unnamed script of theirs that makes this feature"
)
GUESS = f"{NOTE}; G: that Table 4's figure is this variant's, for the paper has several"


def _listing(name: str, options: Mapping[str, Value], words: str, parameters: int) -> Listing:
    carries_the_row = name == NAME
    return Listing(
        name=name,
        options=options,
        description=f"mel CNN on whole clips, patches summed up by {words}",
        certainty=Certainty("A", GUESS if carries_the_row else NOTE),
        paper=(PaperRow("table4", "mtat", "paper", 0.9013, "G"),) if carries_the_row else (),
        counted=Counted(parameters, origin="reference"),
    )


FAMILY = Family(
    name=NAME,
    source=SOURCE,
    options=OPTIONS,
    listed=(
        _listing(NAME, {}, "a convolution and five persistence landscapes (PC-FCN, P=5)", 3_839_218),
        _listing(
            f"{NAME}_p1",
            {"functions": 1},
            "a convolution and one persistence landscape (PC-FCN, P=1)",
            2_528_498,
        ),
        _listing(f"{NAME}_fcn", {"branches": "convolution"}, "a convolution (FCN)", 2_200_818),
        _listing(
            f"{NAME}_landscape",
            {"branches": "landscape"},
            "five persistence landscapes (P-FCN)",
            1_992_818,
        ),
    ),
    input_samples=input_samples,
    build=build,
    sample_rate_hz=SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=HowTrained(
        optimizer="adagrad",
        learning_rate=0.01,
        batch_size=10,
        note="A: the epoch of the best validation ROC-AUC is kept; published numbers are means of five runs",
    ),
)
