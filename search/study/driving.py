"""One driver at a time for a search: on this machine by files, on all machines by their ledger's server.

The locks go with the process that holds them, however it ends. A server's goes with its connection, too, so that the
driver makes sure of it before it writes anything.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from datasets.sqlite import file_of
from search.errors import SearchError
from search.study.records import lock_file, out_of_reach, storage_url

# How each kind is asked for a lock of the connection
SERVERS = {"postgresql": "SELECT pg_try_advisory_lock(:key)"}


class Hold:
    """The lock of a study at its ledger's server; a file as a ledger is for one machine, and needs none.

    name: of the study. url: of the ledger.
    """

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._asking = SERVERS.get(self._engine.dialect.name)
        self._connection: Connection | None = None
        self.check()

    def check(self) -> None:
        """Make sure that this process has the lock, which is lost where the server was started again meanwhile.

        raises: SearchError if another driver has it, SQLAlchemy's errors if the server is away.
        """
        if self._asking is None or self._is_alive():
            return
        self.release()
        self._connection = self._engine.connect()
        if not self._connection.execute(text(self._asking), {"key": _key(self._name)}).scalar():
            self.release()
            raise _taken(self._name, "on another machine with the same ledger")

    def _is_alive(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.execute(text("SELECT 1")).scalar())
        except DBAPIError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # the server may be gone, and the lock with it
                self._connection.close()
            self._connection = None


@contextmanager
def only_driver(name: str, storage: str | None = None) -> Iterator[Hold]:
    """Hold the study of that name for this process. storage: as in the words.

    raises: SearchError if another driver runs this very search.
    """
    url = storage_url(storage)
    with ExitStack() as held:
        for file in sorted(_files(name, url)):  # of all commands in one order
            held.enter_context(_locked(file, name))
        try:
            hold = Hold(name, url)
        except SearchError:
            raise
        except Exception as error:  # drivers of databases raise what they like
            raise out_of_reach("open", url, error) from error
        held.callback(hold.release)
        yield hold


def _files(name: str, url: str) -> set[Path]:
    """This home's, and the one beside a ledger that is a file elsewhere, which commands of other homes write to."""
    files = {lock_file(name).resolve()}
    ledger = file_of(url)
    folder = ledger.parent if ledger is not None and ledger.is_absolute() else None
    if folder is not None and folder.is_dir() and os.access(folder, os.W_OK):
        files.add((folder / "locks" / lock_file(name).name).resolve())
    return files


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
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


def _key(name: str) -> int:
    """What the lock of a study is called: 64 bits, as PostgreSQL wants."""
    digest = hashlib.sha256(f"wavezoo {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _taken(name: str, where: str) -> SearchError:
    return SearchError(
        f"the search {name} is running already ({where}); wait for it, or give this one another study=NAME"
    )
