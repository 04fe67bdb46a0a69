"""A PostgreSQL server of a test's own, on this machine, in a folder that goes with it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

PASSWORD = "a-password"
# Debian keeps the programs of each version out of the way.
BINARIES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.get_exec_path())]


def program(name: str) -> str:
    """Where one of PostgreSQL's programs is; the test is skipped, by name, where it is not installed."""
    found = next((folder / name for folder in BINARIES if (folder / name).is_file()), None)
    if found is None:
        pytest.skip(f"PostgreSQL is not installed here: there is no {name}")
    return str(found)


@contextmanager
def postgres() -> Iterator[str]:
    """The SQLAlchemy address of an empty database; the server ends with the context."""
    initdb, server = program("initdb"), program("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="wzpg", dir="/tmp"))  # sockets want a short path
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:  # PostgreSQL won't run as root
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(folder / "password", "postgres", "postgres")
    port = free_port()
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    _as_postgres(
        initdb, "-D", str(data), "-U", "me", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"
    )
    try:
        _as_postgres(server, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        _as_postgres(server, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(*words: str) -> None:
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    answer = subprocess.run(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False, **user
    )
    assert answer.returncode == 0, answer.stderr
