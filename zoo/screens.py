"""What `python -m zoo` prints: tables for a person, plain and complete for a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import IO

from rich.console import Console
from rich.table import Table

from zoo.entry import Entry, Option

__all__ = ["console", "info_lines", "list_table", "tag_table"]

COLUMNS = 10_000  # wider than any table: rich would drop whole columns to fit 80


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output, or `file`, that cuts nothing off; terminals wrap lines by themselves."""
    return Console(file=file or sys.stdout, width=COLUMNS, highlight=False, markup=False)


def _table(columns: Sequence[str], numbers: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column in numbers
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def published(entry: Entry) -> str:
    """The published AUC of each table, `0.9055`, or `-`; a value that two tables share is written once."""
    return " ".join(dict.fromkeys(f"{row.auc:.4f}" for row in entry.paper)) or "-"


def list_table(entries: Iterable[Entry], n_tags: int) -> Table:
    """One line a network: name, input in ms, parameters, multiply-adds, published AUC and its tables."""
    numbers = ("input ms", "parameters", "multiply-adds", "AUC")
    table = _table(("name", *numbers, "published in"), numbers)
    for entry in entries:
        cost = entry.cost(n_tags)
        table.add_row(
            entry.name,
            f"{entry.input_ms:.0f}",
            f"{cost.parameters:,}",
            f"{cost.multiply_adds:,}",
            published(entry),
            ", ".join(row.table for row in entry.paper) or "-",
        )
    return table


def info_lines(entry: Entry, n_tags: int) -> list[str]:
    """Every fact about one network, a line each."""
    cost = entry.cost(n_tags)
    facts = [
        ("name", entry.name),
        ("description", entry.description),
        ("family", entry.family),
        ("input", f"{entry.input_samples} samples at {entry.sample_rate_hz} Hz ({entry.input_ms:.0f} ms)"),
        ("parameters", f"{cost.parameters:,} for {n_tags} tags"),
        ("multiply-adds", f"{cost.multiply_adds:,} a segment"),
        *((row.table, f"AUC {row.auc:.4f} on {row.dataset}, {row.split} split") for row in entry.paper),
        ("certainty", str(entry.certainty)),
        ("source", entry.source),
        *((name, _option(value, entry.rules.options[name])) for name, value in entry.settings),
    ]
    return [f"{label:<14} {words}" for label, words in facts]


def _option(value: object, option: Option) -> str:
    legal = f"; one of {', '.join(option.choices)}" if option.choices else ""
    return f"{value}  ({option.meaning}{'; fixed by the name' if option.in_name else legal})"


def tag_table(rows: Iterable[tuple[str, str, float]]) -> Table:
    """One line a tag: file, tag, probability."""
    table = _table(("file", "tag", "probability"), ("probability",))
    for file, tag, probability in rows:
        table.add_row(file, tag, f"{probability:.4f}")
    return table
