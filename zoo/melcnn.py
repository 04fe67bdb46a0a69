"""Frame-level networks on mel spectrograms: the mel rows of Table 3.

`melcnn_m3_n6_s81_w243` is the raw network without its first convolution: 3^6 = 729 frames of a spectrogram,
one every 81 samples through a window of 243. The spectrogram is a layer, so the network reads waveforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing
from zoo.errors import ZooError
from zoo.facts import Certainty, Cost, PaperRow, Value
from zoo.mn_rule import (
    OPTIONS,
    SOURCE,
    check_shape,
    grammar,
    name_of,
    parse_name,
    receptive_field,
    tower_cost,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BANDS", "FAMILY", "FFT_SAMPLES", "TABLE_3_MEL"]

NAME = "melcnn"
SAMPLE_RATE_HZ = 22050
FFT_SAMPLES = 729  # §5.2, whatever the window
BANDS = 128

# Table 3, mel: (m, n, window, hop, macro ROC-AUC on MTAT, tables it stands in); segments of 59049 samples.
TABLE_3_MEL = (
    (3, 4, 729, 729, 0.9000, "table3"),
    (3, 5, 729, 243, 0.9005, "table3"),
    (3, 5, 243, 243, 0.9047, "table3"),
    (3, 6, 243, 81, 0.9059, "table3", "table4"),
    (3, 6, 81, 81, 0.9025, "table3"),
)


def _listing(
    m: int, n: int, stride: int, window: int, certainty: Certainty, paper: tuple[PaperRow, ...] = ()
) -> Listing:
    description = (
        f"frame-level mel CNN: {BANDS} bands of {window} samples every {stride}, {n} modules of length {m}"
    )
    options = {"m": m, "n": n, "stride": stride, "window": window}
    return Listing(name_of(NAME, m, n, stride, window), options, description, certainty, paper)


def parse(name: str) -> Listing | None:
    """Any network of the grammar; see `Family.parse`. Raises ZooError for a shape that cannot exist."""
    found = parse_name(NAME, name)
    if found is None:
        return None
    m, n, stride, window = found
    if window is None:
        return None
    check_shape(name, m, n, stride, window, SAMPLE_RATE_HZ)
    if window > FFT_SAMPLES:
        raise ZooError(f"{name}: a window of {window} samples does not fit the FFT of {FFT_SAMPLES}")
    if stride * m**n <= FFT_SAMPLES // 2:
        raise ZooError(
            f"{name}: a segment of {stride * m**n} samples is too short to be mirrored at its ends"
        )
    return _listing(m, n, stride, window, Certainty("G", "the paper's rule; not a network of its tables"))


def input_samples(options: Mapping[str, Value]) -> int:
    """m^n * stride samples."""
    return int(options["m"]) ** int(options["n"]) * int(options["stride"])


def cost(options: Mapping[str, Value], n_tags: int) -> Cost:
    """The tower alone: a spectrogram has no parameters, and its arithmetic is left out."""
    return tower_cost(options, BANDS, n_tags, learned_frames=False)


def depth(options: Mapping[str, Value]) -> int:
    """n modules and the 1x1 convolution."""
    return int(options["n"]) + 1


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front` is a standardised log-mel spectrogram, then the tower."""
    from zoo.layers.frontends import LogMel
    from zoo.layers.tower import build_tower

    options = entry.options
    front = LogMel(
        sample_rate_hz=entry.sample_rate_hz,
        fft_samples=FFT_SAMPLES,
        window_samples=int(options["window"]),
        hop_samples=int(options["stride"]),
        bands=BANDS,
        frames=int(options["m"]) ** int(options["n"]),
    )
    return build_tower(entry, front, BANDS, n_tags)


RULE = Certainty(
    "G", "layers by the paper's rule (the raw network without its first convolution); exact filters unsaid"
)

FAMILY = Family(
    name=NAME,
    source=SOURCE,
    options=OPTIONS,
    listed=tuple(
        _listing(m, n, hop, window, RULE, tuple(PaperRow(table, "mtat", "paper", auc) for table in tables))
        for m, n, window, hop, auc, *tables in TABLE_3_MEL
    ),
    input_samples=input_samples,
    build=build,
    cost=cost,
    parse=parse,
    grammar=grammar(NAME, window_is_optional=False),
    sample_rate_hz=SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
)
