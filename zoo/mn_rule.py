"""The m^n rule of Lee et al. 2017, §3-4 and Table 1, without torch: names, filters, lengths and costs.

A network reads m^n frames. Each of its n modules filters over m frames and pools m of them into one, so one
frame is left for the classifier. Both families of the paper share this: the raw one learns its frames with a
strided convolution, the mel one takes them from a spectrogram.
"""

import math
import re
from collections.abc import Mapping

from zoo.entry import Option
from zoo.errors import ZooError
from zoo.facts import Cost, Value
from zoo.layers.receptive import samples_seen

__all__ = [
    "FIRST_FILTERS",
    "OPTIONS",
    "SOURCE",
    "check_shape",
    "grammar",
    "name_of",
    "parse_name",
    "receptive_field",
    "tower_cost",
    "widths",
]

SOURCE = (
    "Lee, Park, Kim, Nam: Sample-level Deep Convolutional Neural Networks for Music Auto-tagging Using Raw "
    "Waveforms, SMC 2017, https://arxiv.org/abs/1703.01789"
)
FIRST_FILTERS = 128
LONGEST_SECONDS = 60  # beyond any clip of MTAT or MSD, and a bound on what a hostile card can ask for
SCALES = {"half": 0.5, "paper": 1.0, "double": 2.0}
LAST = 512  # filters of the last module
FILTERS = (*SCALES, "ramp", "msd_release")

OPTIONS: Mapping[str, Option] = {
    "m": Option(3, "filter and pool length of every module, frames", low=2, high=1000, in_name=True),
    "n": Option(9, "number of modules", low=3, high=20, in_name=True),
    "stride": Option(3, "samples between frames", low=1, high=10**6, in_name=True),
    "window": Option(3, "samples that one frame looks at", low=1, high=10**6, in_name=True),
    "filters": Option(
        "paper",
        "width of the modules and of the top: Table 1's, half, double, a ramp from the first layer's to 512, or "
        "with 256 at the end, as in the net that the authors released for MSD",
        choices=FILTERS,
    ),
    "dropout": Option(
        0.5, "share of the top's outputs left out in training", low=0, high=0.95, harmless=True
    ),
    "padding": Option(
        "theano",
        "an even filter's odd zero is left as in Theano, which the authors ran, or right as in torch",
        choices=("theano", "torch"),
        paper_silent=True,
    ),
    "init": Option(
        "he_uniform",
        "scale of the first weights; keras110 is what the authors' Keras 1.1.0 drew under that name",
        choices=("he_uniform", "keras110"),
        paper_silent=True,
        harmless=True,
    ),
}


def name_of(family: str, m: int, n: int, stride: int, window: int | None = None) -> str:
    """The name of a network, such as samplecnn_m3_n9_s3; with `_w729` where a window is given."""
    return f"{family}_m{m}_n{n}_s{stride}" + (f"_w{window}" if window else "")


def grammar(family: str, window_is_optional: bool) -> str:
    """The form of a family's names, for error messages."""
    return f"{family}_m<m>_n<n>_s<stride>" + ("[_w<window>]" if window_is_optional else "_w<window>")


def parse_name(family: str, name: str) -> tuple[int, int, int, int | None] | None:
    """Read (m, n, stride, window) out of a name; None if it has not the family's form."""
    number = r"([1-9]\d{0,6})"  # no leading zeros: one network, one name
    found = re.fullmatch(rf"{family}_m{number}_n{number}_s{number}(?:_w{number})?", name)
    if found is None:
        return None
    m, n, stride = (int(found[i]) for i in (1, 2, 3))
    return m, n, stride, int(found[4]) if found[4] else None


def check_shape(name: str, m: int, n: int, stride: int, window: int, sample_rate_hz: int) -> None:
    """Raise ZooError, saying why, unless a network of this shape can exist.

    stride, window: samples. name: begins the message.
    """
    for option, value in (("m", m), ("n", n), ("stride", stride), ("window", window)):
        OPTIONS[option].checked(f"{name}: {option}", value)
    samples = stride * m**n
    if samples > LONGEST_SECONDS * sample_rate_hz:
        raise ZooError(
            f"{name} would read m^n * stride = {samples} samples, more than {LONGEST_SECONDS} s; "
            f"make m, n or the stride smaller"
        )
    if window < stride:
        raise ZooError(
            f"{name}: a window of {window} samples leaves gaps at a stride of {stride}; w must be s or more"
        )
    if window > samples:
        raise ZooError(f"{name}: a window of {window} samples is longer than the segment of {samples}")


def widths(n: int, filters: str, first: int = FIRST_FILTERS) -> list[int]:
    """Output channels of modules 1 to n.

    filters: "paper" is 128, 128, 256, ..., 256, 512; "half" and "double" scale it. "msd_release" ends in 256. "ramp"
             doubles in even steps from `first` to 512: our reading of the preliminary "16 to 512 along the layers".
    first:   channels of the frames, which only the ramp looks at.
    source:  Table 1, §5.3 and the authors' published networks; for n=3 (128, 128, 512) an extrapolation.
    """
    if filters == "ramp":
        doublings = math.log2(LAST / first)
        return [round(first * 2 ** math.floor(i * doublings / n)) for i in range(1, n)] + [LAST]
    if filters == "msd_release":
        return [128, 128] + [256] * (n - 2)
    plan = [128, 128] + [256] * (n - 3) + [LAST]
    return [int(width * SCALES[filters]) for width in plan]


def tower_cost(options: Mapping[str, Value], channels: int, n_tags: int, *, learned_frames: bool) -> Cost:
    """Cost of everything after the frames: modules, 1x1 convolution, dense layer.

    channels:       of the frames that come in.
    learned_frames: they are the output of a convolution, which training keeps anyway.
    """
    m, n = int(options["m"]), int(options["n"])
    # Zeros on one side more than on the other are put on in a copy, which is what the convolution keeps then.
    uneven = m - 1 if m % 2 == 0 else 0
    parameters, multiply_adds, frames = 0, 0, m**n
    floats, indices = 0, 0
    for i, width in enumerate(widths(n, str(options["filters"]), channels), start=1):
        weights = channels * width * m
        parameters += weights + 3 * width  # a bias, and batch norm's scale and shift
        multiply_adds += weights * frames
        kept_already = i == 1 and learned_frames and not uneven
        floats += (0 if kept_already else channels * (frames + uneven)) + 2 * width * frames
        channels, frames = width, frames // m
        indices += width * frames  # of the maximum that each pool took
    parameters += channels * channels + 3 * channels + channels * n_tags + n_tags
    dropped = channels if options["dropout"] else 0
    # The top's input, before and behind its batch norm; dropout's mask and output
    floats += 3 * channels + 2 * dropped
    return Cost(
        parameters,
        multiply_adds + channels * channels + channels * n_tags,
        4 * floats + 8 * indices,
    )


def receptive_field(options: Mapping[str, Value]) -> int:
    """Samples that one frame behind the last module looks at, zeros at the ends included."""
    m, n, stride = (int(options[key]) for key in ("m", "n", "stride"))
    return samples_seen([(m, 1), (m, m)] * n, int(options["window"]), stride)
