"""Multi-level and multi-scale aggregation (Lee and Nam 2017): a second network over what trained networks hear.

The first stage are networks of the zoo for segments of several lengths, each trained on tags by itself and then
frozen. A whole clip goes through all of them; maxima over time in a segment, averaged over segments, of several
layers of each are what two dense layers and the head are trained on. So a network of this family is only worth
training after `load_bases`: until then its bases have random weights, and neither training nor `zoo.save` takes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.entry import Entry, Family, Listing, Option
from zoo.errors import ZooError
from zoo.facts import Certainty, HowTrained, PaperRow, Value

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.trained.card import Card

__all__ = ["FAMILY", "accept_untrained", "load_bases"]

NAME = "multilevel"
SOURCE = (
    "Lee, Nam: Multi-Level and Multi-Scale Feature Aggregation Using Pretrained Convolutional Neural Networks for "
    "Music Auto-Tagging, IEEE Signal Processing Letters 24(8), 2017, https://arxiv.org/abs/1703.01793"
)
SOURCE_RAW = (
    "Lee, Nam: Multi-Level and Multi-Scale Feature Aggregation Using Sample-level Deep Convolutional Neural Networks "
    "for Music Classification, ICML 2017 workshop, https://arxiv.org/abs/1706.06810"
)
SAMPLE_RATE_HZ = 22050
MOST_BASES, LONGEST_SECONDS = 8, 60  # a bound on what a hostile card can ask for

# As near as m^n comes to 18, 27, 54, 108 and 216 frames, which a poster shows.
MEL_BASES = "+".join(f"melcnn_m{m}_n{n}_s243_w729" for m, n in ((2, 4), (3, 3), (2, 6), (5, 3), (6, 3)))
RAW_BASES = "samplecnn_m3_n7_s9+samplecnn_m2_n12_s8+samplecnn_m3_n9_s3"

OPTIONS: Mapping[str, Option] = {
    "bases": Option(MEL_BASES, "the networks of the first stage by their names, joined by +"),
    "layers": Option(0, "how many of the top layers of each body are read; 0 reads all", low=0, high=20),
    "segments": Option(12, "length of a clip, in segments of the longest base", low=1, high=1000),
    "hidden": Option(512, "width of the two dense layers", low=1, high=8192),
    "dropout": Option(
        0.5, "share left out in training behind each dense layer", low=0, high=0.95, harmless=True
    ),
}


def base_entries(options: Mapping[str, Value]) -> list[Entry]:
    """The records of the bases. Raises ZooError if one cannot be a base, saying why."""
    from zoo.registry import entry

    names = str(options["bases"]).split("+")
    if len(names) > MOST_BASES:
        raise ZooError(f"bases: {len(names)} networks were named, at most {MOST_BASES} can be")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ZooError(f"bases: {twice[0][:80]} is named twice; once is enough")
    found = []
    for name in names:
        if name.startswith(NAME):
            raise ZooError(f"bases: {name[:80]} is of this family itself; name networks of the first stage")
        try:
            found.append(entry(name))
        except ZooError as error:
            raise ZooError(f"bases: {error}") from error
    for base in found:
        if base.sample_rate_hz != SAMPLE_RATE_HZ:
            raise ZooError(
                f"bases: {base.name} reads {base.sample_rate_hz} Hz, {NAME} networks hear {SAMPLE_RATE_HZ} Hz; "
                f"all bases must share that rate"
            )
    _check_layers(found, int(options["layers"]))
    return found


def _check_layers(bases: Sequence[Entry], layers: int) -> None:
    """Raise ZooError if a base has fewer layers, as far as its options tell; `build` knows of all."""
    for base in bases:
        has = int(base.options.get("n", layers))
        if layers > has:
            raise ZooError(f"layers={layers}: the body of {base.name} has {has}; ask for fewer, or 0")


def input_samples(options: Mapping[str, Value]) -> int:
    """`segments` segments of the longest base. Raises ZooError if the bases do not fit or make over a minute."""
    samples = int(options["segments"]) * max(base.input_samples for base in base_entries(options))
    if samples > LONGEST_SECONDS * SAMPLE_RATE_HZ:
        raise ZooError(
            f"segments={options['segments']}: a clip of {samples} samples is longer than {LONGEST_SECONDS} s; "
            f"ask for fewer"
        )
    return samples


def build(entry: Entry, n_tags: int) -> nn.Module:
    """The network of an entry: frozen `bases`, two dense layers `embedding.1` and `embedding.2`, the head."""
    from torch import nn

    from zoo.layers.bases import bases_of
    from zoo.layers.blocks1d import DenseBlock
    from zoo.network import WaveNetwork, initialise

    options = entry.options
    hidden = int(options["hidden"])
    bases, width = bases_of(base_entries(options), int(options["layers"]))
    embedding: OrderedDict[str, nn.Module] = OrderedDict()
    for i in (1, 2):
        embedding[str(i)] = DenseBlock(width, hidden)
        embedding[f"dropout{i}"] = nn.Dropout(float(options["dropout"]))
        width = hidden
    stages = {"bases": bases, "embedding": nn.Sequential(embedding)}
    network = WaveNetwork(entry, n_tags, hidden, stages)
    initialise(network.get_submodule("embedding"), "glorot_uniform")
    return network


def depth(options: Mapping[str, Value]) -> int:
    """The body of the deepest base with what comes before it, and two dense layers."""
    # Of every network that can be a base, one layer with weights behind the body stays outside.
    return max(base.depth or 1 for base in base_entries(options)) - 1 + 2


def receptive_field(options: Mapping[str, Value]) -> int:
    """The widest of the bases': samples that one frame of its last layer sees before the maximum in a segment."""
    return max(base.receptive_field_samples or base.input_samples for base in base_entries(options))


def load_bases(network: nn.Module, checkpoints: Sequence[str | Path]) -> nn.Module:
    """Fill the bases of a network from trained checkpoints; their classifiers are left behind.

    network:     of this family.
    checkpoints: one for each base, in the order of the option `bases`: folders, or MLflow addresses as in `zoo.load`.
    returns:     the network itself. Nothing is changed if one of the checkpoints is refused.
    raises:      ZooError if their number differs, or one is of another network, of other options that matter, or of
                 another rate than its base; CheckpointError if one is damaged.
    """
    from zoo.trained.checkpoint import read
    from zoo.trained.locate import fetched

    built = _built(network)
    wanted = base_entries(built.options)
    if len(checkpoints) != len(wanted):
        names = ", ".join(base.name for base in wanted)
        raise ZooError(
            f"{len(checkpoints)} checkpoints came, {built.name} has {len(wanted)} bases; give one of each in this "
            f"order: {names}"
        )
    trained = []
    for base, checkpoint in zip(wanted, checkpoints, strict=True):
        with fetched(checkpoint) as (folder, source):
            found, card = read(folder)
        _check_base(base, card, source)
        trained.append(found)
    for base, found in zip(wanted, trained, strict=True):
        _fill(network.get_submodule(f"bases.{base.name}"), found)
    return accept_untrained(network)


def accept_untrained(network: nn.Module) -> nn.Module:
    """Say that a network's bases are to stay as they are: to measure it, or to hear what random layers are worth.

    returns: the network itself, which then trains and saves. raises: ZooError if it is of another family.
    """
    _built(network)
    loaded: Tensor = network.get_submodule("bases").loaded  # type: ignore[assignment]  # a buffer of Bases
    loaded.fill_(1)
    return network


def _built(network: nn.Module) -> Entry:
    built = getattr(network, "entry", None)
    if not isinstance(built, Entry) or built.family != NAME:
        raise ZooError(f"{getattr(built, 'name', type(network).__name__)} has no bases; {NAME} networks have")
    return built


def _check_base(base: Entry, card: Card, source: str) -> None:
    if (card.network, card.sample_rate_hz) != (base.name, base.sample_rate_hz):
        raise ZooError(
            f"{source} is {card.network} for {card.sample_rate_hz} Hz; this base is {base.name} for "
            f"{base.sample_rate_hz} Hz"
        )
    if changed := card.entry().decisive:
        raise ZooError(f"{source} is {card.network} with {changed}; a base has its options as listed")


def _fill(base: nn.Module, trained: nn.Module) -> None:
    from zoo.layers.bases import Base

    base.load_state_dict(Base(trained, 0).state_dict())


NOTE = (
    "A: the three steps, maxima in a segment, means over segments, by an author's own account; G: the bases' sizes and "
    "widths, two dense layers of 512, batch norm and dropout"
)
FAMILY = Family(
    name=NAME,
    source=SOURCE,
    options=OPTIONS,
    listed=(
        Listing(
            f"{NAME}_mel",
            {},
            "two dense layers over all levels of five frozen mel CNNs for 16 to 216 frames, on whole clips",
            Certainty(
                "G",
                f"{NOTE}; the published networks have 18 to 216 frames (C), which m^n can not all be, so their figures "
                f"are not this network's to promise",
            ),
        ),
        Listing(
            f"{NAME}_raw",
            {"bases": RAW_BASES, "layers": 3, "segments": 10},
            "two dense layers over the top three levels of three frozen sample-level CNNs, on whole clips",
            Certainty(
                "G",
                f"{NOTE}; B: that the top three layers of sample-level networks are read. The figures were read on an "
                "author's poster; that they are those of a network like this one is a guess",
            ),
            paper=(
                PaperRow("lee2017multi", "mtat", "paper", 0.9064, "G"),
                PaperRow("lee2017multi", "msd", "paper", 0.8842, "G"),
            ),
            source=SOURCE_RAW,
        ),
    ),
    input_samples=input_samples,
    build=build,
    sample_rate_hz=SAMPLE_RATE_HZ,
    depth=depth,
    receptive_field=receptive_field,
    trained=HowTrained(
        optimizer="nesterov",
        learning_rate=0.01,
        batch_size=23,
        norm_momentum=0.01,
        note="G: only the second stage is trained, and nothing is known of how; these are the numbers of Lee et al. "
        "2017 for the networks of the first",
    ),
)
