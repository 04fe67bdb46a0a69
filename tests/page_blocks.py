"""What tests look for on a page of the dashboards: its words, its tables, figures that Plotly's schema takes."""

import json
from collections.abc import Iterator
from typing import Any

import plotly.graph_objects

from dashboards.blocks import Block, Cell, Choice, Facts, Figure, Heading, Page, Table, Text


def figures(page: Page) -> dict[str, Figure]:
    """By name, each taken by Plotly and made of JSON alone."""
    found = {block.name: block for block in page.blocks if isinstance(block, Figure)}
    assert len(found) == sum(isinstance(block, Figure) for block in page.blocks), "names are unique on a page"
    for each in found.values():
        whole = {"data": list(each.traces), "layout": dict(each.layout)}
        plotly.graph_objects.Figure(whole)
        assert json.loads(json.dumps(whole, allow_nan=False)) == whole
        assert each.caption
        assert all("text" in axis["title"] for name, axis in each.layout.items() if name[1:5] == "axis")
    return found


def tables(page: Page) -> list[Table]:
    """All of them, each with as many cells in a row as it has columns."""
    found = [block for block in page.blocks if isinstance(block, Table)]
    for table in found:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert not table.spans or sum(width for _, width in table.spans) == len(table.columns)
    return found


def rows(table: Table) -> list[list[str]]:
    return [[text_of(cell) for cell in row] for row in table.rows]


def text_of(cell: Cell | str) -> str:
    return cell if isinstance(cell, str) else cell.text


def words(page: Page) -> str:
    """All that stands on the page outside of figures."""
    return "\n".join(text for block in page.blocks for text in _words(block))


def _words(block: Block) -> Iterator[str]:
    if isinstance(block, Heading | Text):
        yield block.text
    elif isinstance(block, Table):
        yield from (block.caption, *block.columns)
        yield from (text_of(cell) for row in block.rows for cell in row)
    elif isinstance(block, Facts):
        yield from (f"{name}: {text_of(value)}" for name, value in block.rows)
    elif isinstance(block, Choice):
        yield f"{block.label}: {block.chosen}"
    elif isinstance(block, Figure):
        yield block.caption


def texts_in(figure: Figure) -> list[str]:
    """Every text of a figure, wherever it stands."""
    return list(_strings([*figure.traces, figure.layout]))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
