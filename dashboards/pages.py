"""The one list of pages: what the server shows, what an export writes, in the order of the navigation.

A page is a function (reading, choices) -> Page. reading: everything that is read of studies, trials and runs.
choices: the query of its address, which may hold anything that somebody typed; unknown words are ignored or answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dashboards import filters_page, listen_page, paper, ranking, searching
from dashboards.blocks import Page
from dashboards.filters_page import Filters
from dashboards.reading import Reading
from dashboards.songs import Songs

Make = Callable[[Reading, Mapping[str, str]], Page]


@dataclass(frozen=True)
class Listed:
    """A page of the list. name: in its address. title: in the navigation. make: what writes it.

    exported: the choices of which an export writes a page each; a link with any other is text there.
    """

    name: str
    title: str
    make: Make
    exported: Sequence[str] = ()


@dataclass(frozen=True)
class Work:
    """What pages need beside what is read. songs: None where nothing serves them."""

    filters: Filters
    songs: Songs | None = None


def listed(work: Work) -> Sequence[Listed]:
    """All pages, the first one first."""
    return (
        Listed(paper.NAME, paper.TITLE, paper.page, ["measured"]),
        Listed(searching.NAME, searching.TITLE, searching.page, ["study"]),
        Listed(ranking.NAME, ranking.TITLE, ranking.page, ["protocol"]),
        Listed(filters_page.NAME, filters_page.TITLE, work.filters.page, ["of", "network", "layers"]),
        Listed(listen_page.NAME, listen_page.TITLE, partial(listen_page.page, work.songs)),
    )
