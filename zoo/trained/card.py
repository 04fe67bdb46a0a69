"""The card of a checkpoint: the network its weights belong to, the tags, the scores, the origin."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from zoo.entry import Entry
from zoo.errors import CheckpointError, ZooError
from zoo.facts import Value
from zoo.registry import entry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Card"]

FORMAT, VERSION = "wavezoo-checkpoint", 1
MOST_TAGS, MOST_LETTERS = 100_000, 1000
HALVES = re.compile("[\ud800-\udfff]")  # of signs, which JSON can hold and no file can
TYPES = {
    "network": str,
    "options": dict,
    "n_tags": int,
    "tags": list,
    "tag_hash": str,
    "sample_rate_hz": int,
    "segment_samples": int,
    "protocol": dict,
    "scores": dict,
    "lineage": dict,
    "licence": str,
}


@dataclass(frozen=True)
class Card:
    """What weights alone do not say. Equal to itself after `to_json` and `from_json`.

    network, options: `zoo.create(network, n_tags, **options)` builds the network; options at their default
                      are left out.
    tags, tag_hash:   in the order of the logits, and their hash as in `datasets.tag_hash`.
    segment_samples:  length of a segment at `sample_rate_hz`.
    protocol:         what the scores mean (data set, fingerprint, split, ...).
    scores:           by split, as the search wrote them; None stands for a score that could not be taken.
    lineage:          run, search, commit, seed, ...
    licence:          of the data that the weights were trained on.
    raises:           CheckpointError if the fields contradict each other or name no network of the zoo.
    """

    network: str
    options: Mapping[str, Value]
    n_tags: int
    tags: tuple[str, ...]
    tag_hash: str
    sample_rate_hz: int
    segment_samples: int
    protocol: Mapping[str, Any]
    scores: Mapping[str, Any]
    lineage: Mapping[str, Any]
    licence: str

    def __post_init__(self) -> None:
        _check_tags(self)
        found = self.entry()
        for field, network_has in (
            ("sample_rate_hz", found.sample_rate_hz),
            ("segment_samples", found.input_samples),
        ):
            card_has = getattr(self, field)
            if card_has != network_has:
                raise CheckpointError(
                    f"the card says {field} {str(card_has)[:80]}, {self.network} has {network_has}"
                )

    @classmethod
    def of(
        cls,
        network: nn.Module,
        tags: Sequence[str],
        *,
        protocol: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        lineage: Mapping[str, Any] | None = None,
        licence: str = "",
    ) -> Card:
        """The card of a network of `zoo.create`.

        What JSON has not becomes the nearest that it has: tuples lists, NaN and infinity None.
        tags:   in the order of the logits.
        raises: CheckpointError if the tags do not fit, or a mapping holds what JSON cannot.
        """
        from datasets.cards import tag_hash  # one definition of the hash, and it needs no Arrow

        built = _entry_of(network)
        return cls(
            network=built.name,
            options=built.overrides,
            n_tags=len(tags),
            tags=tuple(tags),
            tag_hash=tag_hash(tags),
            sample_rate_hz=built.sample_rate_hz,
            segment_samples=built.input_samples,
            protocol=_plain(protocol or {}, "protocol"),
            scores=_plain(scores or {}, "scores"),
            lineage=_plain(lineage or {}, "lineage"),
            licence=licence,
        )

    def entry(self) -> Entry:
        """The zoo's record of the network. Raises CheckpointError if the zoo has none with these options."""
        try:
            return entry(self.network).with_options(**self.options)
        except ZooError as error:
            raise CheckpointError(f"the card names a network that cannot be had: {error}") from error

    def check_network(self, network: nn.Module, *, exactly: bool = True) -> None:
        """Raise CheckpointError unless the card describes this network; if not `exactly`, but for harmless options."""
        built, own = _entry_of(network), self.entry()
        same = built.overrides == own.overrides if exactly else built.decisive == own.decisive
        if built.name != self.network or not same:
            card_has = f"{self.network} {dict(self.options)}"
            raise CheckpointError(f"the card is of {card_has}, the network is {built.name} {built.overrides}")

    def to_json(self) -> str:
        """The card as indented JSON text."""
        record = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card. Raises CheckpointError, in one line, for what `to_json` would not have written."""
        try:
            record = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"the card is not JSON: {error}") from error
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise CheckpointError(f"the card is not a {FORMAT}")
        version = record.pop("version", None)
        if type(version) is not int or version != VERSION:  # True and 1.0 are equal to 1
            raise CheckpointError(
                f"the card is of version {str(version)[:80]}; this zoo reads version {VERSION}"
            )
        _check_types(record)
        _check_network(record)
        return cls(**{**record, "tags": tuple(record["tags"])})


def _entry_of(network: nn.Module) -> Entry:
    found = getattr(network, "entry", None)
    if not isinstance(found, Entry):
        raise CheckpointError(
            f"{type(network).__name__} was not made by zoo.create, so the zoo has no name for it"
        )
    return found


def _check_types(record: dict[str, Any]) -> None:
    if missing := [key for key in TYPES if key not in record]:
        raise CheckpointError(f"the card has no {missing[0]}")
    if foreign := [key for key in record if key not in TYPES]:
        raise CheckpointError(f"the card has a field {foreign[0][:80]!r} that this zoo does not know")
    for key, wanted in TYPES.items():
        if type(record[key]) is not wanted:
            raise CheckpointError(f"the card's {key} is {type(record[key]).__name__}, not {wanted.__name__}")


def _check_tags(card: Card) -> None:
    from datasets.cards import tag_hash

    if len(card.tags) > MOST_TAGS:
        raise CheckpointError(f"the card lists {len(card.tags)} tags; at most {MOST_TAGS} are read")
    if not card.tags or not all(isinstance(tag, str) and tag for tag in card.tags):
        raise CheckpointError("the card's tags are not a list of words")
    if unfit := [tag for tag in card.tags if len(tag) > MOST_LETTERS or HALVES.search(tag)]:
        raise CheckpointError(
            f"the card has the tag {unfit[0][:80]!r}; a tag is text of at most {MOST_LETTERS} signs"
        )
    if len(card.tags) != card.n_tags:
        raise CheckpointError(f"the card lists {len(card.tags)} tags and says n_tags {card.n_tags}")
    if len(set(card.tags)) != len(card.tags):
        double = Counter(card.tags).most_common(1)[0][0]
        raise CheckpointError(f"the card lists the tag {double[:80]!r} twice")
    if card.tag_hash != tag_hash(card.tags):
        raise CheckpointError(
            f"the card's tag_hash {card.tag_hash[:80]!r} is not that of its tags ({tag_hash(card.tags)}): "
            f"a list in another order gives every probability to the wrong tag"
        )


def _check_network(record: Mapping[str, Any]) -> None:
    """Refuse what no network of the zoo is called or takes, before it is looked for."""
    options: dict[str, Any] = record["options"]
    words = [record["network"], *options, *(str(value) for value in options.values())]
    if unfit := [word for word in words if len(word) > MOST_LETTERS]:
        raise CheckpointError(f"the card names a network or an option of it by {unfit[0][:80]!r}")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:80]} is no number")
    return number


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _plain(value: Any, where: str) -> Any:
    """The value as JSON gives it back: dicts with text keys, lists, numbers, text, None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, where) for inner in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    raise CheckpointError(
        f"{where} is a {type(value).__name__}; a card takes text, numbers, lists and mappings"
    )
