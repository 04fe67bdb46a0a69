"""MLflow's store: where it is, and a client of it."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.home import home
from datasets.whole import written_whole
from search.errors import SearchError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["SQLITE", "client", "reader", "tracking_uri"]

SQLITE = "sqlite:///"


def tracking_uri(given: str | None) -> str:
    """The words' address, else MLFLOW_TRACKING_URI, else a SQLite file under home()."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{home() / 'mlflow.db'}"


def client(uri: str) -> "MlflowClient":
    """MLflow's client, quiet and without telemetry; makes the store's tables where it is a file that is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the thread here has its own patience
    # Two lines for each run that ends
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow"):  # after the import, which sets levels of its own
        logging.getLogger(logger).setLevel(logging.ERROR)
    if _is_missing(uri):
        # Tables that a kill left half-made could never be used again: the file gets its name when it is whole.
        with written_whole(Path(uri.removeprefix(SQLITE))) as part:
            MlflowClient(f"{SQLITE}{part}").search_experiments()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _is_missing(uri: str) -> bool:
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file()


def reader(uri: str) -> "MlflowClient":
    """The client of a store that holds something. raises: SearchError where it is a file that is not there."""
    if _is_missing(uri):
        raise SearchError(f"there is no MLflow store at {uri}; run a search first, or give tracking=URL")
    return client(uri)
