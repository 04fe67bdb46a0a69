"""MLflow's store: where it is, a client of it, and where the files of its runs lie."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.home import home
from datasets.sqlite import address_of, file_of, is_missing
from datasets.whole import written_whole
from search.errors import SearchError, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["client", "experiment", "in_a_line", "reader", "tracking_uri"]


def tracking_uri(given: str | None) -> str:
    """The words' address, else MLFLOW_TRACKING_URI, else a SQLite file under home()."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or address_of(home() / "mlflow.db")


def client(uri: str) -> "MlflowClient":
    """MLflow's client, quiet and without telemetry; makes the store's tables where it is a file that is not there.

    raises: SearchError if MLflow can't use the address. A server that is away is found out by the first question only.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the thread here has its own patience
    # Two lines for each run that ends
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow"):  # after the import, which sets levels of its own
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        file = file_of(uri)
        if file is not None and not file.is_file():
            _make(file)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:  # whatever a store can do
        raise SearchError(
            f"MLflow can't use {without_password(uri)}: {in_a_line(error)}; give another tracking=URL, such as "
            f"http://HOST:5000 or sqlite:////folder/mlflow.db"
        ) from error


def in_a_line(error: Exception) -> str:
    """What MLflow says, short and without passwords, which are looked for first: half of one is not known for one."""
    return without_password(" ".join(str(error).split()))[:200]


def _make(file: Path) -> None:
    """Make a store's tables. Of two that do so at once the first one's stay: there may be runs in them already."""
    from mlflow import MlflowClient

    # Tables that a kill left half-made could never be used again
    with written_whole(file, first=True) as part:
        MlflowClient(address_of(part)).search_experiments()


def experiment(mlflow: "MlflowClient", name: str) -> str:
    """The id of the experiment of that name, made where there is none.

    The files of its runs lie where the server wants them, or else under home().
    """
    if known := mlflow.get_experiment_by_name(name):
        return str(known.experiment_id)
    is_server = str(mlflow.tracking_uri).startswith("http")
    return str(
        mlflow.create_experiment(name, artifact_location=None if is_server else (home() / "mlflow").as_uri())
    )


def reader(uri: str) -> "MlflowClient":
    """The client of a store that holds something. raises: SearchError where it is a file that is not there."""
    if is_missing(uri):
        raise SearchError(f"there is no MLflow store at {uri}; run a search first, or give tracking=URL")
    return client(uri)
