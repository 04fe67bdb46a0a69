"""The records of the zoo: an entry, its published numbers, its cost and how certain it is.

Nothing here imports torch, so a search can plan over every entry in an instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import nn

    from zoo.family import Family

__all__ = ["Certainty", "Cost", "Entry", "PaperRow", "Value"]

Value = int | float | str
GRADES = {
    "A": "read in the authors' own code, their released model, or the paper",
    "B": "read in another implementation or a poster",
    "C": "from memory of a paper; unverified",
    "G": "a guess or a design choice of this project",
}


@dataclass(frozen=True)
class PaperRow:
    """One published number: macro ROC-AUC (0 to 1) of `dataset`'s test clips, with its split convention.

    table: "table2", "table3", ... of Lee et al. 2017.
    split: the name of the split in `datasets` ("paper": 15,244 / 1,529 / 4,332 clips).
    """

    table: str
    dataset: str
    split: str
    auc: float


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    parameters:    trainable numbers, batch norm's scale and shift included.
    multiply_adds: of one forward pass over one segment; convolutions and dense layers (a spectrogram is not
                   counted).
    """

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Certainty:
    """How sure the layers of an entry are: a grade of `GRADES` and what it rests on."""

    grade: str
    note: str

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ZooError(f"certainty {self.grade!r} is not one of {', '.join(GRADES)}")

    def __str__(self) -> str:
        return f"{self.grade} ({GRADES[self.grade]}): {self.note}"


@dataclass(frozen=True)
class Entry:
    """One network of the zoo: how it is built, what is known of it and where that comes from.

    settings:       every option of the family with its value, as pairs (hashable; `options` is the mapping).
    input_samples:  length of the segment that the network reads.
    sample_rate_hz: rate of that segment.
    paper:          published numbers; empty where none is known or the options are not the published ones.
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
    def input_ms(self) -> float:
        """Length of a segment in milliseconds."""
        return 1000 * self.input_samples / self.sample_rate_hz

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
        return replace(changed, paper=(), certainty=Certainty("G", f"{self.name} with options of our own"))

    def cost(self, n_tags: int = 50, **overrides: Value) -> Cost:
        """Parameters and multiply-adds for `n_tags` tags, in closed form where the family has one.

        raises: ZooError for illegal options or fewer than one tag.
        """
        if overrides:
            return self.with_options(**overrides).cost(n_tags)
        check_tags(n_tags)
        if self.rules.cost is not None:
            return self.rules.cost(self.options, n_tags)
        from zoo.counting import counted  # torch

        return counted(self, n_tags)

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
