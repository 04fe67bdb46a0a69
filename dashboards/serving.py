"""The pages, served: Starlette in front of `pages`, which are the same functions that an export and a test call.

Starlette, uvicorn and Jinja2 come with MLflow already, and Plotly's script lies in its wheel, so nothing is fetched
from a network. A page is one function to plain blocks: what is served, exported and tested is the same. Streamlit would
run a script of its own for each browser tab, hold an upload whole in memory, and could not write a page as a file.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import resources
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dashboards import rendering
from dashboards.blocks import Link, Page, Text
from dashboards.guards import Guard, policy
from dashboards.jobs import ONE_LINE
from dashboards.pages import Listed
from dashboards.reading import Reading


class Pages:
    """The pages as answers. listed: which there are. reading: what they are made from."""

    def __init__(self, listed: Sequence[Listed], reading: Reading) -> None:
        self.listed = {each.name: each for each in listed}
        self.reading = reading
        self.making = threading.Lock()  # one page at a time: what is read is kept, and read once
        self.begun = threading.Event()  # the first page has been made
        self.shell = rendering.Shell(
            entries=[(each.title, Link(each.name)) for each in listed], address=self.address
        )

    def address(self, link: Link) -> str | None:
        """Of a page with its choices."""
        if link.page not in self.listed:
            return None
        query = urlencode(dict(link.choices))
        return f"/{link.page}?{query}" if query else f"/{link.page}"

    def first(self, request: Request) -> Response:
        return RedirectResponse(f"/{next(iter(self.listed))}")

    def answer(self, request: Request) -> Response:
        """A page, or its main part where that is all that is asked for; 304 where that has not changed."""
        choices = dict(request.query_params)
        only_main = choices.pop("part", "") == "main"
        page, status = self.made(request.path_params["page"], choices)
        self.begun.set()
        if not only_main:
            headers = {
                "Content-Security-Policy": policy(page.live or rendering.webgl(page)),
                "Cache-Control": "no-store",
            }
            return HTMLResponse(rendering.whole(page, self.shell), status, headers)
        parts = rendering.blocks(page, self.shell)
        mark = f'"{rendering.mark_of(parts)}"'
        headers = {"ETag": mark, "Wavezoo-Live": "yes" if page.live else "no", "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == mark and page.live:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(rendering.main_part(parts), status, headers)

    def made(self, name: str, choices: dict[str, str]) -> tuple[Page, int]:
        """The page with its status. An error that we know is told on the page, any other in the terminal."""
        if name not in self.listed:
            return Page("", "Not found", [Text(f"There is no page {name!r} here.")]), 404
        listed = self.listed[name]
        try:
            with self.making:
                return listed.make(self.reading, choices), 200
        except ONE_LINE as error:
            return Page(name, listed.title, [Text(str(error), alarming=True)]), 400
        except Exception:
            traceback.print_exc(file=sys.stderr)
            told = "This page could not be made, and that is a fault of this program; the terminal says more."
            return Page(name, listed.title, [Text(told, alarming=True)]), 500


def app(pages: Pages, more: Sequence[BaseRoute] = (), host: str = "127.0.0.1") -> Starlette:
    """The server. more: routes of pages that take something in. host: what it is bound to, for `Guard`."""
    static = resources.files("dashboards").joinpath("static")
    routes = [
        Route("/", pages.first),
        Route("/static/plotly.js", _plotly),
        Mount("/static", StaticFiles(directory=str(static))),
        *more,
        Route("/{page}", pages.answer),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])


def _plotly(request: Request) -> Response:
    return FileResponse(rendering.plotly_file(), headers={"Cache-Control": "max-age=3600"})
