"""One driver at a time for a search: on this machine by a file, on all machines by their ledger's server.

Both locks go with the process that holds them, however it ends.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from search.errors import SearchError, without_password
from search.study.records import lock_file, storage_url

# How each kind is asked for a lock of the connection
SERVERS = {"postgresql": "SELECT pg_try_advisory_lock(:key)"}


@contextmanager
def only_driver(name: str, storage: str | None = None) -> Iterator[None]:
    """Hold the study of that name for this process. storage: as in the words.

    raises: SearchError if another driver runs this very search.
    """
    with _on_this_machine(name), _at_the_server(name, storage_url(storage)):
        yield


@contextmanager
def _on_this_machine(name: str) -> Iterator[None]:
    path = lock_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _taken(name, f"process {file.read().strip() or 'unknown'}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _at_the_server(name: str, url: str) -> Iterator[None]:
    """By a connection that is open all the while; a file as a ledger is for one machine, and needs none."""
    try:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect() if (asking := SERVERS.get(engine.dialect.name)) else None
        free = not (connection and asking) or connection.execute(text(asking), {"key": _key(name)}).scalar()
    except Exception as error:  # drivers of databases raise what they like
        raise SearchError(without_password(f"can't open the ledger {url}: {error}")) from error
    try:
        if not free:
            raise _taken(name, "on another machine with the same ledger")
        yield
    finally:
        if connection is not None:
            with suppress(SQLAlchemyError):  # the server may be gone, and the lock with it
                connection.close()


def _key(name: str) -> int:
    """What the lock of a study is called: 64 bits, as PostgreSQL wants."""
    digest = hashlib.sha256(f"wavezoo {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _taken(name: str, where: str) -> SearchError:
    return SearchError(
        f"the search {name} is running already ({where}); wait for it, or give this one another study=NAME"
    )
