"""python -m dashboards: what the searches found, as pages in a browser, or as files that open from disk."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence

from datasets import DatasetError
from datasets.errors import nearest, reason
from datasets.words import command
from search.errors import SearchError
from zoo import ZooError

HELP = """\
Show what the searches found.

  python -m dashboards [host=127.0.0.1] [port=8050] [model=FOLDER] [storage=URL] [mlflow=URL]

serves the pages until Ctrl-C and prints where. port=0 takes any that is free.

  python -m dashboards export out=DIR [storage=URL] [mlflow=URL]

writes the same pages as files that open from disk without a network; DIR/index.html is the first.

Words (key=value):
    host=     the address to listen at. Whoever reaches it sees the results and may tag songs; there is no password.
              0.0.0.0 listens at all of this machine's, and answers to those and to the name that hostname prints; where
              it is called by another, such as gpu1.example.org, give that one: host=gpu1.example.org
    port=     8050 unless given
    model=    a checkpoint folder to hear songs with, besides the registry's models
    storage=  the ledger's address where it is not the file under WAVEZOO_HOME
    mlflow=   the http address of MLflow: trials link to their runs there, and models come from its registry; without
              it MLFLOW_TRACKING_URI is taken, for the links where it begins with http

Exit codes: 0 done, 1 a page could not be written as it should, 2 the words or what they lead to were wrong,
130 interrupted.
"""
SHARED = ("storage", "mlflow")
WORDS = {"export": ("out", *SHARED), "serve": ("host", "port", "model", *SHARED)}
PORT = 8050
WORKING = "job:"  # how the names of threads begin that compute


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if {"-h", "--help", "help"} & set(typed):
        print(HELP)
        return 0
    try:
        action, given = _parsed(typed)
        known = os.environ.get("MLFLOW_TRACKING_URI", "")
        if "mlflow" in given:
            os.environ["MLFLOW_TRACKING_URI"] = given["mlflow"]  # for all that reads MLflow's store
        elif known.startswith(("http://", "https://")):  # a file's runs have no address
            given["mlflow"] = known
        return _export(given) if action == "export" else _serve(given)
    except (SearchError, DatasetError, ZooError, OSError) as error:
        print(reason(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parsed(typed: Sequence[str]) -> tuple[str, dict[str, str]]:
    action, words = (typed[0], typed[1:]) if typed and "=" not in typed[0] else ("serve", typed)
    if action not in WORDS:
        raise SearchError(f"dashboards has no '{action}'; {nearest(action, ['export'])}")
    given: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in WORDS[action]:
            raise SearchError(f"no word is called '{key}'; {nearest(key, WORDS[action])}")
        if not value or key in given:
            raise SearchError(f"{key}= wants one value, once")
        given[key] = value
    return action, given


def _serve(given: Mapping[str, str]) -> int:
    port = given.get("port", str(PORT))
    if not port.isdecimal() or int(port) > 65535:
        raise SearchError(f"port={port}: give a whole number up to 65535, or 0 for any that is free")
    from dashboards.running import address_of, bound, serve, whole

    host = given.get("host", "127.0.0.1")
    with bound(host, int(port)) as place, whole(given, host) as app:
        print(f"the dashboards are at {address_of(place)} ; Ctrl-C ends them", flush=True)
        serve(app, place)
    return 0


def _export(given: Mapping[str, str]) -> int:
    if not given.get("out"):
        raise SearchError(f"say where to: {command('dashboards', ['export', 'out=DIR'])}")
    from dashboards.running import exported

    done = exported(given)
    left_out = f", {done.left_out} were too many" if done.left_out else ""
    print(f"{done.searches} searches in {done.first}, of {done.pages} pages{left_out}")
    for line in done.failed:
        print(line, file=sys.stderr)
    return 1 if done.failed else 0


def _leave(code: int) -> None:
    """End the process. A job that is within torch can't be ended, and Python's own end would trip over its thread."""
    if any(thread.name.startswith(WORKING) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
