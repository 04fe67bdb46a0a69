"""Sample-level and frame-level networks on raw waveforms: Table 2 and the raw rows of Table 3.

`samplecnn_m3_n9_s3` filters 3 samples at a time and has 9 modules; its segment is 3^9 * 3 = 59049 samples.
`samplecnn_m3_n5_s243_w729` looks at 729 samples every 243.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.errors import ZooError
from zoo.facts import Certainty, Cost, Counted, PaperRow, Value
from zoo.mn_rule import (
    FIRST_FILTERS,
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

__all__ = ["FAMILY", "TABLE_2", "TABLE_3_RAW"]

NAME = "samplecnn"
SAMPLE_RATE_HZ = 22050

# Table 2: (m, n, stride, macro ROC-AUC on MTAT); the segment is m^n * stride samples.
TABLE_2 = (
    *((2, 6, 256, 0.8839), (2, 7, 128, 0.8899), (2, 8, 64, 0.8968), (2, 9, 32, 0.8994)),
    *((2, 10, 16, 0.9011), (2, 11, 8, 0.9031), (2, 12, 4, 0.9036), (2, 13, 2, 0.9032)),
    *((2, 7, 256, 0.8834), (2, 8, 128, 0.8872), (2, 9, 64, 0.8980), (2, 10, 32, 0.8988)),
    *((2, 11, 16, 0.9017), (2, 12, 8, 0.9031), (2, 13, 4, 0.9039), (2, 14, 2, 0.9040)),
    *((3, 3, 729, 0.8655), (3, 4, 243, 0.8753), (3, 5, 81, 0.8961)),
    *((3, 6, 27, 0.9012), (3, 7, 9, 0.9033), (3, 8, 3, 0.9039)),
    *((3, 4, 729, 0.8655), (3, 5, 243, 0.8823), (3, 6, 81, 0.8936)),
    *((3, 7, 27, 0.9002), (3, 8, 9, 0.9030), (3, 9, 3, 0.9055)),
    *((4, 3, 256, 0.8828), (4, 4, 64, 0.8968), (4, 5, 16, 0.9010), (4, 6, 4, 0.9021)),
    *((4, 4, 256, 0.8813), (4, 5, 64, 0.8950), (4, 6, 16, 0.9001), (4, 7, 4, 0.9026)),
    *((5, 3, 125, 0.8901), (5, 4, 25, 0.9005), (5, 5, 5, 0.9024)),
    *((5, 4, 125, 0.8870), (5, 5, 25, 0.9004), (5, 6, 5, 0.9041)),
)
# Table 3, raw waveform: (m, n, window, stride, macro ROC-AUC on MTAT); segments of 59049 samples.
TABLE_3_RAW = (
    (3, 4, 729, 729, 0.8655),
    (3, 5, 729, 243, 0.8742),
    (3, 5, 243, 243, 0.8823),
    (3, 6, 243, 81, 0.8906),
    (3, 6, 81, 81, 0.8936),
    (3, 7, 27, 27, 0.9002),
    (3, 8, 9, 9, 0.9030),
    (3, 9, 3, 3, 0.9055),
)
# Table 4, "sample-level (raw waveforms), proposed".
TABLE_4 = (PaperRow("table4", "mtat", "paper", 0.9055), PaperRow("table4", "msd", "paper", 0.8812))
TABLE_4_NAME = "samplecnn_m3_n9_s3"
TABLE_1 = Counted(1_863_986, "Table 1 leaves out batch norm's 5,888 scales and shifts")
# The net that the authors released for MSD with a later paper: narrower at the end, and without dropout.
MSD_RELEASE = Listing(
    "samplecnn_msd_release",
    {"filters": "msd_release", "dropout": 0.0},
    "the authors' released MSD net: 3^9 with 256 filters at the end and without dropout",
    Certainty("A", "read in the released architecture file; no AUC is known to belong to it"),
    source="Lee et al.: architecture_msdTag.json, released with https://arxiv.org/abs/1706.06810",
)
FIRST_PARTY = {(2, 13), (3, 9), (4, 6), (4, 7)}  # (m, n) in the authors' own scripts

RAW_OPTIONS = {
    **OPTIONS,
    "first": Option(FIRST_FILTERS, "filters of the first, strided convolution", low=1, high=4096),
    "first_pad": Option(
        "zero",
        "what a window longer than the stride sees at the ends: zeros, or more of the audio",
        choices=("zero", "context"),
        paper_silent=True,
    ),
}


def certainty_of(m: int, n: int, overlaps: bool) -> Certainty:
    """How sure the filters of a network of the tables are."""
    if (m, n) in FIRST_PARTY:
        return Certainty("A", "filters and layers as in the authors' script for this very m and n")
    if overlaps:
        return Certainty(
            "G", "window, stride and filters by the paper's rule; zeros or real context at the edges: unsaid"
        )
    if n >= 6:
        return Certainty("A", "filters by the rule of the authors' networks of 6 to 15 modules")
    if n > 3:
        return Certainty("B", "filters extrapolated; the rule of a co-author's generator gives the same")
    slip = "; the AUC equals that of m3_n4_s729 and may be a slip in the paper" if m == 3 else ""
    return Certainty(
        "G", f"filters 128, 128, 512 are our choice; a co-author's rule would give 128, 128, 256{slip}"
    )


def describe(m: int, n: int, stride: int, window: int) -> str:
    """One line for the table: which convolutions, and how they read the waveform."""
    level = "sample-level" if window <= 27 else "frame-level"  # the paper's own border, in Table 3
    return f"{level} 1D CNN: {window} samples every {stride}, then {n} modules of length {m}"


def _listing(m: int, n: int, stride: int, window: int, certainty: Certainty) -> Listing:
    name = name_of(NAME, m, n, stride, None if window == stride else window)
    options = {"m": m, "n": n, "stride": stride, "window": window}
    return Listing(name, options, describe(m, n, stride, window), certainty)


def _listings() -> Iterator[Listing]:
    """Table 2, then what Table 3 adds, and the released net; a network of several tables carries their rows."""
    rows = [(m, n, stride, stride, "table2", auc) for m, n, stride, auc in TABLE_2]
    rows += [(m, n, stride, window, "table3", auc) for m, n, window, stride, auc in TABLE_3_RAW]
    found: dict[str, Listing] = {}
    for m, n, stride, window, table, auc in rows:
        new = _listing(m, n, stride, window, certainty_of(m, n, window > stride))
        known = found.get(new.name, new)
        found[new.name] = replace(known, paper=(*known.paper, PaperRow(table, "mtat", "paper", auc)))
    best = found[TABLE_4_NAME]
    found[TABLE_4_NAME] = replace(best, paper=(*best.paper, *TABLE_4), counted=TABLE_1)
    yield from found.values()
    yield MSD_RELEASE


def parse(name: str) -> Listing | None:
    """Any network of the grammar; see `Family.parse`. Raises ZooError for a shape that cannot exist."""
    found = parse_name(NAME, name)
    if found is None:
        return None
    m, n, stride, window = found
    if window == stride:
        raise ZooError(
            f"{name}: the window equals the stride; that network is called {name_of(NAME, m, n, stride)}"
        )
    check_shape(name, m, n, stride, window or stride, SAMPLE_RATE_HZ)
    if window and (window - stride) % 2:
        raise ZooError(f"{name}: window minus stride is odd; it must be even to lie centred on its frame")
    return _listing(
        m, n, stride, window or stride, Certainty("G", "the paper's rule; not a network of its tables")
    )


def input_samples(options: Mapping[str, Value]) -> int:
    """m^n * stride samples, and with first_pad=context the window's overhang too."""
    m, n, stride, window = (int(options[key]) for key in ("m", "n", "stride", "window"))
    overhang = window - stride if options["first_pad"] == "context" else 0
    return m**n * stride + overhang


def cost(options: Mapping[str, Value], n_tags: int) -> Cost:
    """The first convolution and the tower behind it."""
    filters, window = int(options["first"]), int(options["window"])
    frames = int(options["m"]) ** int(options["n"])
    tower = tower_cost(options, filters, n_tags, learned_frames=True)
    return Cost(
        tower.parameters + filters * window + 3 * filters,
        tower.multiply_adds + frames * filters * window,
        tower.training_bytes + 4 * (input_samples(options) + 2 * filters * frames),
    )


def depth(options: Mapping[str, Value]) -> int:
    """The strided convolution, n modules and the 1x1 convolution: 1+n+1 in Table 2."""
    return int(options["n"]) + 2


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: `front` is a convolution of `window` samples every `stride`, then the tower.

    first_pad=zero puts (window - stride) / 2 zeros on both sides; context leaves that to a longer segment.
    """
    from zoo.layers.tower import ConvBlock, build_tower

    options = entry.options
    filters, stride, window = (int(options[key]) for key in ("first", "stride", "window"))
    zeros = (window - stride) // 2 if options["first_pad"] == "zero" else 0
    front = ConvBlock(1, filters, window, stride=stride, pad=(zeros, zeros))
    return build_tower(entry, front, filters, n_tags)


FAMILY = Family(
    name=NAME,
    source=SOURCE,
    options=RAW_OPTIONS,
    listed=tuple(_listings()),
    input_samples=input_samples,
    build=build,
    cost=cost,
    parse=parse,
    grammar=grammar(NAME, window_is_optional=True),
    sample_rate_hz=SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
)
