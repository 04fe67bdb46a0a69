"""The records of the zoo: a family (options, table, rules) and an entry, one network of it.

Nothing here imports torch, so a search can plan over every entry in an instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zoo import costs
from zoo.errors import ZooError, did_you_mean
from zoo.facts import Certainty, Cost, Counted, HowTrained, PaperRow, Value

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Entry", "Family", "Listing", "Option"]


@dataclass(frozen=True)
class Option:
    """A parameter of a family: its default, its legal values and its meaning.

    default:      also fixes the type: an int, a float (an int is taken too) or a text.
    choices:      the legal words of a text option; none: any text, which the family's `input_samples` checks.
    low, high:    the legal range of a number, both ends included.
    in_name:      the network's name carries it, so it cannot be overridden.
    paper_silent: the paper leaves it open, so another value is still the published network.
    harmless:     it changes how a network begins or learns, but nothing in a trained one, whose weights fit whatever
                  its value.
    """

    default: Value
    meaning: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = float("inf")
    in_name: bool = False
    paper_silent: bool = False
    harmless: bool = False

    def checked(self, name: str, value: object) -> Value:
        """Return `value` in the option's type. Raises ZooError if it is of another type or out of range."""
        if self.choices:
            if value in self.choices:
                return str(value)
            raise ZooError(f"{name}={value!r} is not one of {', '.join(self.choices)}")
        if isinstance(self.default, str):
            if isinstance(value, str):
                return value
            raise ZooError(f"{name}={value!r} is not a text")
        whole = isinstance(self.default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ZooError(f"{name}={value!r} is not a {'whole number' if whole else 'number'}")
        if not self.low <= value <= self.high:
            raise ZooError(f"{name}={value!r} is outside {self.low} to {self.high}")
        return value if whole else float(value)


@dataclass(frozen=True)
class Listing:
    """A row of a family's table: one network's name, the options that differ, and what is known of it.

    counted: a published number of parameters, for 50 tags.
    source:  where this network comes from, where that is not the family's source.
    """

    name: str
    options: Mapping[str, Value]
    description: str
    certainty: Certainty
    paper: tuple[PaperRow, ...] = ()
    counted: Counted | None = None
    source: str = ""


@dataclass(frozen=True)
class Family:
    """What one file of the zoo says about its networks; every `FAMILY` in `zoo/` is discovered.

    name:           the name of its file, and where it can be the start of its networks' names.
    options:        every option by name, defaults included; `Entry.options` holds exactly these.
    listed:         the networks that `zoo.names()` shows, in table order.
    input_samples:  options -> length of a segment in samples; ZooError if the options do not fit together.
    build:          (entry, n_tags) -> the network; imports torch inside.
    cost:           (options, n_tags) -> Cost in closed form; None: counted on the built network, with torch.
    depth:          options -> layers with weights on the longest way, the dense head not counted: "1+n+1" of Table 2.
    receptive_field: options -> samples that one frame of the last layer before global pooling, recurrence or attention
                    looks at, zeros at the ends included; None: every layer looks at the whole segment.
    trained:        how its authors trained it; None: as Lee et al. 2017 did.
    parse:          name -> Listing for names beyond `listed` (None: not of this family's form; ZooError: of
                    the form, but no such network can exist).
    grammar:        the form that `parse` takes, for error messages.
    """

    name: str
    source: str
    options: Mapping[str, Option]
    listed: tuple[Listing, ...]
    input_samples: Callable[[Mapping[str, Value]], int]
    build: Callable[[Entry, int], nn.Module]
    cost: Callable[[Mapping[str, Value], int], Cost] | None = None
    parse: Callable[[str], Listing | None] | None = None
    grammar: str = ""
    sample_rate_hz: int = 22050
    depth: Callable[[Mapping[str, Value]], int] | None = None
    receptive_field: Callable[[Mapping[str, Value]], int] | None = None
    trained: HowTrained | None = None

    def entry(self, listing: Listing) -> Entry:
        """Turn a row of the table into an entry. Raises ZooError if its options are not legal."""
        options = {name: option.default for name, option in self.options.items()}
        for name, value in listing.options.items():
            options[name] = self.option(name).checked(name, value)
        return Entry(
            name=listing.name,
            family=self.name,
            settings=tuple(options.items()),
            input_samples=self.input_samples(options),
            sample_rate_hz=self.sample_rate_hz,
            paper=listing.paper,
            source=listing.source or self.source,
            certainty=listing.certainty,
            counted=listing.counted,
            description=listing.description,
            rules=self,
            defaults=tuple(options.items()),
        )

    def option(self, name: str) -> Option:
        """The option called `name`. Raises ZooError naming the nearest ones if there is none."""
        if name not in self.options:
            near = did_you_mean(name, self.options) or f"; it has {', '.join(self.options)}"
            raise ZooError(f"{self.name} has no option {name!r}{near}")
        return self.options[name]


@dataclass(frozen=True)
class Entry:
    """One network of the zoo: how it is built, what is known of it and where that comes from.

    settings:       every option of the family with its value, as pairs (hashable; `options` is the mapping).
    input_samples:  length of the segment that the network reads.
    sample_rate_hz: rate of that segment.
    paper:          published numbers; empty where none is known or the options are not the published ones.
    counted:        the published number of parameters, likewise.
    defaults:       the settings of the entry of this name before `with_options`.
    """

    name: str
    family: str
    settings: tuple[tuple[str, Value], ...]
    input_samples: int
    sample_rate_hz: int
    paper: tuple[PaperRow, ...]
    source: str
    certainty: Certainty
    counted: Counted | None
    description: str
    rules: Family = field(repr=False, compare=False)
    defaults: tuple[tuple[str, Value], ...] = field(repr=False)

    @property
    def options(self) -> dict[str, Value]:
        """Every option with its value, defaults included (a fresh copy)."""
        return dict(self.settings)

    @property
    def overrides(self) -> dict[str, Value]:
        """Only the options that were changed: `zoo.create(name, **overrides)` builds the same network."""
        return dict(pair for pair in self.settings if pair not in self.defaults)

    @property
    def decisive(self) -> dict[str, Value]:
        """The overrides that make trained weights those of another network: all but the harmless ones."""
        return {k: v for k, v in self.overrides.items() if not self.rules.option(k).harmless}

    @property
    def input_ms(self) -> float:
        """Length of a segment in milliseconds."""
        return 1000 * self.input_samples / self.sample_rate_hz

    @property
    def depth(self) -> int | None:
        """Layers with weights on the longest way, the dense head not counted; None where nobody has counted."""
        return None if self.rules.depth is None else self.rules.depth(self.options)

    @property
    def receptive_field_samples(self) -> int | None:
        """Samples that one frame of the last layer before global pooling sees; None: the whole segment."""
        return None if self.rules.receptive_field is None else self.rules.receptive_field(self.options)

    def samples_at(self, rate_hz: int) -> int:
        """Samples of audio at another rate that hold one segment: `zoo.resampled` makes input_samples of them."""
        return -(-self.input_samples * rate_hz // self.sample_rate_hz)

    def with_options(self, /, **overrides: Value) -> Entry:
        """The same network with other options.

        overrides: options of the family by name; m, n, ... that the name carries cannot change.
        returns:   a new entry; `input_samples` follows the options. The published rows stay only if the
                   paper leaves open what was changed.
        raises:    ZooError for an unknown option (with the nearest), an illegal value, or one that the name
                   fixes.
        """
        options, published = self.options, True
        for name, given in overrides.items():
            option = self.rules.option(name)
            value = option.checked(name, given)
            if value != options[name] and option.in_name:
                raise ZooError(
                    f"{name}={value}: {self.name} has {name}={options[name]}; use the name that says so"
                )
            published &= value == options[name] or option.paper_silent
            options[name] = value
        changed = replace(
            self, settings=tuple(options.items()), input_samples=self.rules.input_samples(options)
        )
        if published:
            return changed
        return replace(
            changed, paper=(), counted=None, certainty=Certainty("G", f"{self.name} with options of our own")
        )

    @property
    def costs_are_known(self) -> bool:
        """Whether `cost` is a look-up or a formula; else it builds the network, with torch."""
        return self.rules.cost is not None or (self.settings == self.defaults and self.name in costs.known())

    def cost(self, n_tags: int = 50, **overrides: Value) -> Cost:
        """Parameters and multiply-adds for `n_tags` tags, in closed form where the family has one.

        raises: ZooError for illegal options or fewer than one tag.
        """
        if overrides:
            return self.with_options(**overrides).cost(n_tags)
        check_tags(n_tags)
        if self.rules.cost is not None:
            return self.rules.cost(self.options, n_tags)
        if self.settings == self.defaults and self.name in costs.known():
            return costs.known()[self.name].with_head(n_tags)
        from zoo.counting import counted  # torch

        return counted(lambda: self.build(n_tags), self.input_samples)

    def build(self, n_tags: int = 50) -> nn.Module:
        """Build the network: (batch, input_samples) float32 in [-1, 1] -> (batch, n_tags) logits.

        raises: ZooError for fewer than one tag.
        """
        check_tags(n_tags)
        network = self.rules.build(self, n_tags)
        network.entry = self  # type: ignore[assignment]  # a record, not a layer; checkpoints ask for it
        return network


def check_tags(n_tags: int) -> None:
    """Raise ZooError unless `n_tags` is a whole number from 1 to 100,000."""
    if isinstance(n_tags, bool) or not isinstance(n_tags, int) or not 1 <= n_tags <= 100_000:
        raise ZooError(f"n_tags={n_tags!r} is not a whole number from 1 to 100000")
