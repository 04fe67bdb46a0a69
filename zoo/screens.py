"""What `python -m zoo` prints: tables for a person, plain and complete for a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from rich.console import Console
from rich.table import Table

from zoo.entry import Entry, Option
from zoo.facts import GRADES, Counted, HowTrained, PaperRow

__all__ = ["console", "info_lines", "list_table", "table"]

COLUMNS = 10_000  # wider than any table: rich would drop whole columns to fit 80


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output, or `file`, that cuts nothing off; terminals wrap lines by themselves."""
    return Console(file=file or sys.stdout, width=COLUMNS, highlight=False, markup=False)


def table(columns: Sequence[str], numbers: Iterable[str]) -> Table:
    """A table without lines around it, the columns of numbers to the right."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column in numbers
        shown.add_column(column, justify="right" if right else "left", no_wrap=True)
    return shown


def published(entry: Entry, dataset: str) -> str:
    """The published AUCs on one data set, `0.9055`, or `-`; a value that two sources share is written once.

    One that is from memory, a guess or doubted by its authors has a question mark, of which `info` tells more.
    """
    rows = [row for row in entry.paper if row.dataset == dataset]
    sure = {row.auc for row in rows if row.grade in "AB" and not row.doubt}
    words = (f"{row.auc:.4f}" + ("" if row.auc in sure else "?") for row in rows)
    return " ".join(dict.fromkeys(words)) or "-"


def list_table(entries: Iterable[Entry], n_tags: int) -> Table:
    """One line a network: name, input, size beside what others counted, cost, published AUC and where it is printed."""
    numbers = ("kHz", "input ms", "parameters", "counted by others", "multiply-adds", "MTAT AUC", "MSD AUC")
    shown = table(("name", *numbers, "published in", "sure"), numbers)
    for entry in entries:
        cost = entry.cost(n_tags)
        shown.add_row(
            entry.name,
            f"{entry.sample_rate_hz / 1000:g}",
            f"{entry.input_ms:.0f}",
            f"{cost.parameters:,}",
            _others(entry.counted),
            f"{cost.multiply_adds:,}",
            published(entry, "mtat"),
            published(entry, "msd"),
            ", ".join(dict.fromkeys(row.table for row in entry.paper)) or "-",
            entry.certainty.grade,
        )
    return shown


def info_lines(entry: Entry, n_tags: int) -> list[str]:
    """Every fact about one network, a line each."""
    cost = entry.cost(n_tags)
    facts = [
        ("name", entry.name),
        ("description", entry.description),
        ("family", entry.family),
        ("input", f"{entry.input_samples} samples at {entry.sample_rate_hz} Hz ({entry.input_ms:.0f} ms)"),
        ("parameters", f"{cost.parameters:,} for {n_tags} tags"),
        *([("frozen", f"{cost.frozen:,} more, which no training moves")] if cost.frozen else ()),
        ("multiply-adds", f"{cost.multiply_adds:,} a segment"),
        ("depth", "not counted" if entry.depth is None else f"{entry.depth} layers and the dense head"),
        ("receptive field", _receptive_field(entry)),
        *(_counted(entry.counted) if entry.counted else ()),
        *((row.table, _published(row)) for row in entry.paper),
        ("trained", _trained(entry.rules.trained)),
        ("certainty", str(entry.certainty)),
        ("source", entry.source),
        *((name, _option(value, entry.rules.options[name])) for name, value in entry.settings),
    ]
    return [f"{label:<15} {words}" for label, words in facts]


def _receptive_field(entry: Entry) -> str:
    samples = entry.receptive_field_samples
    if samples is None:
        return "the whole segment"
    return (
        f"{samples} samples ({1000 * samples / entry.sample_rate_hz:.3g} ms), of one frame of the last layer"
    )


def _others(counted: Counted | None) -> str:
    if counted is None:
        return "-"
    return f"{counted.parameters:,}" + ("" if counted.origin == "published" else " (ref)")


def _counted(counted: Counted) -> Iterator[tuple[str, str]]:
    how = "" if counted.origin == "published" else ", counted on an independent implementation"
    difference = f"; {counted.difference}" if counted.difference else ""
    yield counted.origin, f"{counted.parameters:,} parameters{how}{difference}"


def _published(row: PaperRow) -> str:
    unsure = "" if row.grade == "A" else f" ({row.grade}: {GRADES[row.grade]})"
    doubt = f"; {row.doubt}" if row.doubt else ""
    return f"AUC {row.auc:.4f} on {row.dataset}, {row.split} split{unsure}{doubt}"


def _trained(how: HowTrained | None) -> str:
    if how is None:
        return "as the paper: nesterov, rate 0.01 in five stages, batches of 23"
    decay = f", weight decay {how.weight_decay:g}" if how.weight_decay else ""
    note = f"; {how.note}" if how.note else ""
    batches = "" if how.batch_size is None else f", batches of {how.batch_size}"
    return f"{how.optimizer}, rate {how.learning_rate:g}{batches}{decay}{note}"


def _option(value: object, option: Option) -> str:
    legal = f"; one of {', '.join(option.choices)}" if option.choices else ""
    return f"{value}  ({option.meaning}{'; fixed by the name' if option.in_name else legal})"
