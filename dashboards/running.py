"""The server from its words to its end: bound to one address, told in one line, ended by Ctrl-C."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import SearchError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from dashboards.export import Exported
    from dashboards.models import Models

IDLE_SECONDS = 30.0  # after which nobody seems to look
PATIENCE_SECONDS = 2  # what an answer that is being sent has left when the server ends


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 takes a free one. raises: SearchError, in one line, if it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _listening(socket.socket(family, kind, protocol), address)
    except UnicodeError as error:  # it can't be asked for
        raise SearchError(
            f"host={host[:200]}: no host is called that; give a name or an address, such as host=127.0.0.1"
        ) from error
    except OSError as error:
        why = str(error.strerror or error).lower()
        raise SearchError(
            f"can't listen at {host}:{port}: {why}; give another, such as port=0 for any that is free"
        ) from error


def _listening(place: socket.socket, address: Any) -> socket.socket:
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.listen()
    except OSError:
        place.close()
        raise
    return place


def address_of(place: socket.socket) -> str:
    """What to type into a browser."""
    host, port = place.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


@contextmanager
def whole(given: Mapping[str, str], host: str) -> Iterator[Starlette]:
    """The server with all that works beside it; nothing of that is left when the context ends.

    given: the words model, storage and mlflow. raises: ZooError for a model that is none, SearchError for an address.
    """
    from dashboards.climbs import Climbs
    from dashboards.filters_page import Filters
    from dashboards.models import Models
    from dashboards.networks import Networks
    from dashboards.pages import Work, listed
    from dashboards.reading import Reading
    from dashboards.serving import Pages, app
    from dashboards.songs import Songs

    models = Models(given.get("model"))
    reading = Reading(given.get("storage"), given.get("mlflow"))
    songs, networks, climbs = Songs(models), Networks(models), Climbs()
    filters = Filters(networks, climbs)
    routes = [*songs.routes(), *filters.routes(reading)]
    pages = Pages(listed(Work(filters, songs)), reading)
    threading.Thread(target=_warm, args=(models, pages.begun), name="warming", daemon=True).start()
    try:
        yield app(pages, routes, host)
    finally:
        networks.close()
        climbs.close()
        songs.close()


def exported(given: Mapping[str, str]) -> Exported:
    """The pages as files, in the folder of the word out."""
    from dashboards.climbs import Climbs
    from dashboards.export import export
    from dashboards.filters_page import Filters
    from dashboards.models import Models
    from dashboards.networks import Networks
    from dashboards.pages import Work, listed
    from dashboards.reading import Reading

    models = Models()
    reading = Reading(given.get("storage"), given.get("mlflow"), patient=True)
    models.wait(IDLE_SECONDS)
    filters = Filters(Networks(models), Climbs(), serving=False)
    return export(listed(Work(filters)), reading, Path(given["out"]))


def _warm(models: Models, begun: threading.Event) -> None:
    """What takes seconds to import is imported before somebody asks for it, but does not slow the first page down."""
    begun.wait(IDLE_SECONDS)
    models.wait(IDLE_SECONDS)
    import_module("zoo.trained.tagger")
    import_module("zoo.filters")


def serve(app: Starlette, place: socket.socket) -> None:
    """Answer until Ctrl-C, or until it is told to end. raises: KeyboardInterrupt then."""
    # uvicorn sends itself the signal that ended it: with this, what is below it is cleared away either way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=PATIENCE_SECONDS, ws="none"
    )
    uvicorn.Server(config).run(sockets=[place])
