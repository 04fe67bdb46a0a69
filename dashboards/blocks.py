"""What a page is made of: blocks of plain data, without HTML, so that one page can be served, exported and tested.

A page's function reads results and returns a `Page`; `rendering` turns it into HTML and escapes every word of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["", "reproduced", "above", "below", "not run", "tie"]


@dataclass(frozen=True)
class Link:
    """Another page with its choices, or an address outside; an export writes it as text where it has no such page.

    page:    a page's name, "search". choices: its query, {"study": "demo-table2-1a2b3c"}.
    address: instead, a whole http(s) address, such as a run's in MLflow.
    """

    page: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


@dataclass(frozen=True)
class Cell:
    """One field of a table. verdict: colours it, and is told in words too. hint: shown when pointed at."""

    text: str
    link: Link | None = None
    verdict: Verdict = ""
    hint: str = ""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph. code: it is a command or a message, in fixed width. alarming: something went wrong."""

    text: str
    code: bool = False
    alarming: bool = False


@dataclass(frozen=True)
class Table:
    """columns: their heads, with units. spans: a row of heads above them, each over so many columns.

    dense: of many columns, so heads may be broken into lines.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    spans: Sequence[tuple[str, int]] = ()
    dense: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture in Plotly's words. Colours of text and grid are the page's, in light and in dark.

    name:    unique on its page; a live page keeps the zoom of a figure by it.
    traces, layout: Plotly's data and layout, made of JSON's types alone (None for what was not measured).
             A title is {"text": "frequency (kHz)"}: this Plotly takes no bare word.
    caption: what it shows, with protocol and units; also what a screen reader says.
    least_width_px: below it the figure scrolls sideways in a box of its own.
    """

    name: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    caption: str
    height_px: int = 360
    least_width_px: int = 0


@dataclass(frozen=True)
class Choice:
    """A choice among pages: one is `chosen`. Written as a menu, or as links in an export."""

    label: str
    options: Sequence[tuple[str, Link]]
    chosen: str = ""

    @property
    def at(self) -> int:
        """Which option is chosen: no more than one, whatever they are called; -1 for none."""
        return next((at for at, (text, _) in enumerate(self.options) if text == self.chosen), -1)


@dataclass(frozen=True)
class Facts:
    """Names and values side by side: what a number means, how far a search is."""

    rows: Sequence[tuple[str, Cell | str]]


@dataclass(frozen=True)
class Sound:
    """A short sound to listen to, as a data address. wav: the bytes of a wav file."""

    label: str
    wav: bytes


@dataclass(frozen=True)
class Widget:
    """A part with its own template, such as the player of the page Listen; values are its own.

    script: its own, out of static/; "" for none.
    """

    template: str
    values: Mapping[str, Any]
    script: str = ""


Block = Heading | Text | Table | Figure | Choice | Facts | Sound | Widget


@dataclass(frozen=True)
class Page:
    """name: as in its address. live: something on it still changes, so it is fetched again while it is looked at."""

    name: str
    title: str
    blocks: Sequence[Block]
    live: bool = False
