"""What one file of the zoo says about its networks: options, table, rules. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.entry import Certainty, Cost, Entry, PaperRow, Value
from zoo.errors import ZooError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Family", "Listing", "Option"]


@dataclass(frozen=True)
class Option:
    """A parameter of a family: its default, its legal values and its meaning.

    default:      also fixes the type: an int, a float (an int is taken too) or one of `choices`.
    choices:      the legal words of a text option.
    low, high:    the legal range of a number, both ends included.
    in_name:      the network's name carries it, so it cannot be overridden.
    paper_silent: the paper leaves it open, so another value is still the published network.
    """

    default: Value
    meaning: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = float("inf")
    in_name: bool = False
    paper_silent: bool = False

    def checked(self, name: str, value: object) -> Value:
        """Return `value` in the option's type. Raises ZooError if it is of another type or out of range."""
        if self.choices:
            if value in self.choices:
                return str(value)
            raise ZooError(f"{name}={value!r} is not one of {', '.join(self.choices)}")
        whole = isinstance(self.default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ZooError(f"{name}={value!r} is not a {'whole number' if whole else 'number'}")
        if not self.low <= value <= self.high:
            raise ZooError(f"{name}={value!r} is outside {self.low} to {self.high}")
        return value if whole else float(value)


@dataclass(frozen=True)
class Listing:
    """A row of a family's table: one network's name, the options that differ, and what is known of it."""

    name: str
    options: Mapping[str, Value]
    description: str
    certainty: Certainty
    paper: tuple[PaperRow, ...] = ()


@dataclass(frozen=True)
class Family:
    """What one file of the zoo says about its networks; every `FAMILY` in `zoo/` is discovered.

    name:           the start of its networks' names and the name of its file.
    options:        every option by name, defaults included; `Entry.options` holds exactly these.
    listed:         the networks that `zoo.names()` shows, in table order.
    input_samples:  options -> length of a segment in samples; ZooError if the options do not fit together.
    build:          (entry, n_tags) -> the network; imports torch inside.
    cost:           (options, n_tags) -> Cost in closed form; None: counted on the built network, with torch.
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
            source=self.source,
            certainty=listing.certainty,
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
