"""The pages as files: each opens from disk, asks for nothing, and leads to the others beside it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from dashboards.blocks import Block, Choice, Facts, Link, Page, Table
from dashboards.pages import Listed
from dashboards.reading import Reading
from dashboards.rendering import Shell, whole
from dashboards.serving import Pages
from datasets.words import command
from search.files import write_text

MOST_PAGES = 300  # each holds the script that draws, some 5 MB
MOST_NAME = 80  # characters of a file's name
Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Exported:
    """What was written. first: the page to open. failed: a line for each page that could not be made."""

    first: Path
    searches: int
    pages: int
    left_out: int
    failed: Sequence[str]


def export(listed: Sequence[Listed], reading: Reading, out: Path) -> Exported:
    """Write every page, with each of the choices that its entry names. A link to anything else becomes text."""
    pages = Pages(listed, reading)
    found, failed, left_out = _collected(pages, listed)
    names = _file_names(found, listed[0].name)

    def address(link: Link) -> str | None:
        return names.get(_key(link))

    note = f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by {command('dashboards', ['export'])}."
    entries = [(each.title, Link(each.name)) for each in listed]
    shell = Shell(entries, address, served=False, note=note)
    written = {name: key for key, name in reversed(names.items())}
    for name, key in written.items():
        write_text(out / name, whole(found[key], shell))
    return Exported(out / names[listed[0].name, ()], len(reading.searches()), len(written), left_out, failed)


def _collected(pages: Pages, listed: Sequence[Listed]) -> tuple[dict[Key, Page], list[str], int]:
    """All pages that can be reached, why some could not be made, and how many were too many."""
    followed = {each.name: frozenset(each.exported) for each in listed}
    waiting = deque(Link(each.name) for each in listed)
    found: dict[Key, Page] = {}
    failed: list[str] = []
    seen = {_key(link) for link in waiting}
    while waiting and len(found) < MOST_PAGES:
        link = waiting.popleft()
        page, status = pages.made(link.page, dict(link.choices))
        found[_key(link)] = replace(page, live=False)
        if status != 200:
            failed.append(f"{link.page} {dict(link.choices) or ''}: {_alarm(page)}")
        for other in links(page.blocks):
            known = other.page in followed and followed[other.page] >= set(other.choices)
            if known and _key(other) not in seen:
                seen.add(_key(other))
                waiting.append(other)
    return found, failed, len(waiting)


def _alarm(page: Page) -> str:
    return " ".join(getattr(block, "text", "") for block in page.blocks)


def links(blocks: Sequence[Block]) -> Iterator[Link]:
    """Every link to a page, out of menus, tables and facts."""
    for block in blocks:
        if isinstance(block, Choice):
            yield from (link for _, link in block.options)
        cells = (
            [cell for row in block.rows for cell in row]
            if isinstance(block, Table)
            else [value for _, value in block.rows]
            if isinstance(block, Facts)
            else []
        )
        yield from (cell.link for cell in cells if not isinstance(cell, str) and cell.link is not None)


def _key(link: Link) -> Key:
    return link.page, tuple(sorted(link.choices.items()))


def _file_names(found: Mapping[Key, Page], first: str) -> dict[Key, str]:
    """A name for each page, of letters, digits and hyphens alone; pages that show the same share one."""
    names: dict[Key, str] = {}
    for (name, choices), page in found.items():
        same = (names[key] for key in names if key[0] == name and found[key] == page)
        told = (
            "index" if (name, choices) == (first, ()) else "-".join([name, *(value for _, value in choices)])
        )
        names[name, choices] = next(same, None) or _free(told, set(names.values()))
    return names


def _free(told: str, taken: Collection[str]) -> str:
    """A name that no other page has."""
    plain = re.sub(r"[^a-z0-9]+", "-", told.lower()).strip("-")[:MOST_NAME]
    numbered = (f"{plain}-{number}.html" for number in count(2))
    return next(name for name in chain([f"{plain}.html"], numbered) if name not in taken)
