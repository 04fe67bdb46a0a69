"""The networks of Dieleman and Schrauwen 2014: the first end-to-end ones, on raw frames or on mel spectrograms.

`dieleman_raw` filters 256 samples every 256 and has 187 frames of its 3 seconds; `dieleman_mel` takes these frames
from a log-mel spectrogram. Neither has batch norm or dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.errors import ZooError
from zoo.facts import Certainty, Counted, HowTrained, PaperRow, Value
from zoo.layers.receptive import samples_seen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILY"]

NAME = "dieleman"
SOURCE = (
    "Dieleman, Schrauwen: End-to-end Learning for Music Audio, ICASSP 2014, "
    "https://doi.org/10.1109/ICASSP.2014.6854950"
)
SAMPLE_RATE_HZ = 16000
INPUT_SAMPLES = 3 * SAMPLE_RATE_HZ
BANDS = 128
KERNEL, POOL, LAYERS = 8, 4, 2
# 128 bands are narrower than the bins of an FFT of one frame, so some would be empty; zeros make the bins finer.
FFT_SAMPLES = 1024

OPTIONS: Mapping[str, Option] = {
    "input": Option("raw", "what the frames are", choices=("raw", "mel"), in_name=True),
    "frame": Option(
        256, "samples in a frame; the next begins where it ends", low=256, high=1024, in_name=True
    ),
    "first": Option(128, "filters of the strided convolution of a raw network", low=1, high=4096),
    "filters": Option(32, "filters of both convolutions over frames", low=1, high=4096),
    "hidden": Option(100, "width of the dense layer before the tags", low=1, high=4096),
    "pool_end": Option(
        "drop",
        "frames at the end that do not fill a pool of four: left out, or pooled by themselves",
        choices=("drop", "keep"),
    ),
    "standardise": Option(
        "none",
        "whether the log-mel values are brought to mean 0 and deviation 1, over all or in each band (mel only)",
        choices=("none", "whole", "band"),
        paper_silent=True,
    ),
    "init": Option(
        "glorot_uniform",
        "scale of the first weights",
        choices=("glorot_uniform", "he_uniform"),
        paper_silent=True,
        harmless=True,
    ),
}

RAW_NOTE = (
    "B: 32 filters of 8 frames, pools of 4, 100 units, read in three other implementations; 128 strided filters by "
    "Lee et al. 2017, §3.2; C: 3 seconds at 16 kHz"
)
MEL_NOTE = (
    f"{RAW_NOTE}, log(1 + 10000 x) of the amplitude; G: an FFT of 1024 samples, values not standardised"
)
LONG_NOTE = "; G: the end of a pool is kept, for 46 frames would leave none otherwise; what its authors did is unknown"


def _frames(options: Mapping[str, Value]) -> list[int]:
    """Frames before the first convolution over them and after each pooling."""
    frames = [INPUT_SAMPLES // int(options["frame"])]
    for _ in range(LAYERS):
        filtered = max(frames[-1] - KERNEL + 1, 0)
        frames.append(-(-filtered // POOL) if options["pool_end"] == "keep" else filtered // POOL)
    return frames


def input_samples(options: Mapping[str, Value]) -> int:
    """Three seconds. Raises ZooError if no frame would be left of them."""
    if _frames(options)[-1] < 1:
        raise ZooError(
            f"pool_end={options['pool_end']}: frames of {options['frame']} samples are too few for two pools of "
            f"{POOL}; use pool_end=keep"
        )
    return INPUT_SAMPLES


def depth(options: Mapping[str, Value]) -> int:
    """The strided convolution of a raw network, two convolutions, a dense layer."""
    return LAYERS + 1 + (options["input"] == "raw")


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples behind one of the frames that the dense layer reads together."""
    frame = int(options["frame"])
    return samples_seen([(KERNEL, 1), (POOL, POOL)] * LAYERS, frame, frame)


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front` makes frames, `body.1` and `body.2` filter them, `embedding` reads them all."""
    from torch import nn

    from zoo.layers.blocks1d import PlainBlock
    from zoo.network import WaveNetwork, initialise

    options = entry.options
    filters, hidden, keep_end = int(options["filters"]), int(options["hidden"]), options["pool_end"] == "keep"
    front, channels = _front(entry)
    body: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, LAYERS + 1):
        body[str(i)] = PlainBlock(channels, filters, KERNEL, pool=POOL, keep_end=keep_end)
        channels = filters
    embedding = OrderedDict(
        flatten=nn.Flatten(1),
        linear=nn.Linear(filters * _frames(options)[-1], hidden),
        activation=nn.ReLU(),
    )
    stages = {"front": front, "body": nn.Sequential(body), "embedding": nn.Sequential(embedding)}
    network = WaveNetwork(entry, n_tags, hidden, stages)
    initialise(network, str(options["init"]))
    return network


def _front(entry: Entry) -> tuple[nn.Module, int]:
    """What makes frames of a wave, and how many channels they have."""
    from zoo.layers.blocks1d import PlainBlock
    from zoo.layers.frontends import LogMel

    options = entry.options
    frame = int(options["frame"])
    if options["input"] == "raw":
        return PlainBlock(1, int(options["first"]), frame, stride=frame), int(options["first"])
    front = LogMel(
        sample_rate_hz=entry.sample_rate_hz,
        fft_samples=FFT_SAMPLES,
        window_samples=frame,
        hop_samples=frame,
        bands=BANDS,
        frames=INPUT_SAMPLES // frame,
        compression="log(1+10000x)",
        standardise=str(options["standardise"]),
    )
    return front, BANDS


def _listing(kind: str, frame: int, note: str, table: str, auc: float, parameters: int | None) -> Listing:
    words = f"{frame} samples every {frame}" if kind == "raw" else f"{BANDS} mel bands of {frame} samples"
    options: dict[str, Value] = {"input": kind, "frame": frame}
    if frame != 256:
        options["pool_end"] = "keep"
    return Listing(
        name=f"{NAME}_{kind}" + ("" if frame == 256 else f"_{frame}"),
        options=options,
        description=f"frame-level 1D CNN: {words}, two convolutions of 8 frames, no batch norm",
        certainty=Certainty("B" if frame == 256 else "G", note if frame == 256 else note + LONG_NOTE),
        paper=(PaperRow(table, "mtat", "paper", auc, "B"),),
        counted=None if parameters is None else Counted(parameters, origin="reference"),
    )


FAMILY = Family(
    name=NAME,
    source=SOURCE,
    options=OPTIONS,
    listed=(
        _listing("raw", 256, RAW_NOTE, "table4", 0.8487, 107_870),
        _listing("mel", 256, MEL_NOTE, "dieleman2014", 0.8815, 74_974),
        _listing("raw", 1024, RAW_NOTE, "dieleman2014", 0.8366, None),
        _listing("mel", 1024, MEL_NOTE, "dieleman2014", 0.8690, None),
    ),
    input_samples=input_samples,
    build=build,
    sample_rate_hz=SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=HowTrained(
        optimizer="sgd",
        learning_rate=0.01,
        batch_size=10,
        note="C: batches of 10 and the rate are from memory; no momentum, no schedule known",
    ),
)
