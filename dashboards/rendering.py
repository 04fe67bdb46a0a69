"""From a page's blocks to HTML: every word of them is escaped, and every number of a figure is data, never a script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from dashboards.blocks import Block, Figure, Link, Page, Table, Widget

# What a browser would end a script at, or read as a new line within one.
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
NUMBER = re.compile(r"[^\w\s]?\s*[.\d]")
WEBGL = {"parcoords", "scattergl", "splom", "scatterpolargl"}
SCRIPTS = ("plotly.js", "figures.js")  # what a page needs that no server has
Address = Callable[[Link], str | None]


@dataclass(frozen=True)
class Shell:
    """What surrounds the blocks.

    entries: title and link of each page, for the navigation.
    address: how a link is written; None where it leads nowhere, which makes it text.
    served:  by a server, which gives scripts and styles by address; else all of them are written into the file.
    note:    stands below the page.
    """

    entries: Sequence[tuple[str, Link]]
    address: Address
    served: bool = True
    note: str = ""


@dataclass(frozen=True)
class Part:
    """A block as HTML. key: the same for the same block of a later fetch. mark: changes with the HTML."""

    key: str
    mark: str
    html: Markup


def whole(page: Page, shell: Shell) -> str:
    """The page as a document."""
    parts = blocks(page, shell)
    template = _templates().get_template("page.html")
    policy = "" if shell.served else _policy(page)
    return template.render(
        page=page, shell=shell, parts=parts, mark=mark_of(parts), drawn=drawn(page), policy=policy
    )


def main_part(parts: Sequence[Part]) -> str:
    """What a live page fetches again: its blocks alone."""
    return _templates().get_template("parts.html").render(parts=parts)


def blocks(page: Page, shell: Shell) -> list[Part]:
    """The blocks of a page, each with what it is known by."""
    counted: dict[str, int] = {}
    parts = []
    for block in page.blocks:
        kind = type(block).__name__.lower()
        counted[kind] = counted.get(kind, 0) + 1
        key = f"figure:{block.name}" if isinstance(block, Figure) else f"{kind}-{counted[kind]}"
        html = _templates().get_template(f"{kind}.html").render(block=block, key=key, shell=shell)
        parts.append(Part(key, _digest(html), Markup(html)))
    return parts


def mark_of(parts: Sequence[Part]) -> str:
    """One mark for all of them: an ETag without its quotation marks."""
    return _digest(" ".join(f"{part.key}={part.mark}" for part in parts))


def drawn(page: Page) -> bool:
    """Whether anything on the page is drawn by Plotly."""
    return any(isinstance(block, (Figure, Widget)) for block in page.blocks)


def webgl(page: Page) -> bool:
    """Whether anything is drawn by WebGL, for which Plotly compiles functions."""
    figures = (block for block in page.blocks if isinstance(block, Figure))
    return any(trace.get("type") in WEBGL for figure in figures for trace in figure.traces)


def _policy(page: Page) -> str:
    """What a file may do: run the scripts that are written into it, and ask for nothing."""
    hashes = (hashlib.sha256(_inlined(name).encode()).digest() for name in SCRIPTS)
    scripts = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in hashes)
    compiled = " 'unsafe-eval'" if webgl(page) else ""
    return (
        f"default-src 'none'; script-src {scripts}{compiled}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src data:"
    )


def as_data(value: Any) -> Markup:
    """JSON that may stand in a script element. raises: ValueError for NaN, which JSON does not have."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.translate(UNSAFE))


def static_text(name: str) -> str:
    """A script or a style of ours."""
    return resources.files("dashboards").joinpath("static", name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("dashboards", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "as_data": as_data,
        "sound": _sound,
        "sides": sides,
        "figure": _figure,
        "slug": _slug,
    }
    templates.globals |= {"inlined": _inlined, "address": _address, "scripts": SCRIPTS}
    return templates


def _figure(block: Figure) -> Markup:
    return as_data({"traces": block.traces, "layout": block.layout})


def _sound(wav: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"


def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.lower())


def sides(table: Table) -> list[str]:
    """Of each column what it holds, numbers or words: words begin at the left, numbers end at the right."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    texts = [[cell if isinstance(cell, str) else cell.text for cell in column] for column in columns]
    return ["number" if all(NUMBER.match(text) for text in column if text) else "word" for column in texts]


@pass_context
def _address(context: Context, link: Link | None) -> str | None:
    """How the link is written here. Only http(s) leads outside: a javascript: address would be a script."""
    if link is None:
        return None
    if link.address:
        return link.address if link.address.startswith(("http://", "https://")) else None
    found: str | None = context["shell"].address(link)
    return found


@cache
def _inlined(name: str) -> Markup:
    """A script or a style written into the page; Plotly's is read where its wheel lies."""
    text = plotly_script() if name == "plotly.js" else static_text(name)
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end the element that it is written into")
    return Markup(text)


def plotly_script() -> str:
    return plotly_file().read_text(encoding="utf-8")


def plotly_file() -> Path:
    """Plotly's script, out of its wheel: nothing is fetched from a network."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("plotly is not installed, and its script draws the figures")
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kinds() -> tuple[type, ...]:
    """The kinds of blocks; each has a template of its own name."""
    return Block.__args__
