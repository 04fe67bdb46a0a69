"""Whether MLflow's server lets a search in: asked before anything is trained, as a wrong password is a wrong word.

A server that does not answer refuses nobody: the search goes on, and tells it later.
"""

import base64
import os
import urllib.error
import urllib.request
from http import HTTPStatus
from urllib.parse import urlsplit

from search.errors import SearchError, without_password
from search.recording.store import client

REFUSALS = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN
ANSWER_SECONDS = 5.0
# That every release answers, and that takes rights
A_QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"


def check(uri: str) -> None:
    """raises: SearchError if the server is there and does not let this user in."""
    if not uri.startswith(("http://", "https://")) or _status(uri) not in REFUSALS:
        return
    # MLflow knows more places where a password may lie, and its import takes seconds: it has the last word.
    status = _status_by_mlflow(uri)
    if status in REFUSALS:
        # What a server says to a host name that it does not know, as a way in through somebody's browser.
        unknown = "; or its --allowed-hosts lacks this name" if status is HTTPStatus.FORBIDDEN else ""
        raise SearchError(
            f"MLflow at {without_password(uri)} does not let this search in ({status.value} {status.phrase}): set "
            f"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of its users, or give another "
            f"tracking=URL{unknown}"
        )


def _status(uri: str) -> int:
    """What the server answers to a small question; 0 where nobody does."""
    address = urlsplit(uri)
    bare = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or address.username
    word = os.environ.get("MLFLOW_TRACKING_PASSWORD") or address.password
    try:
        question = urllib.request.Request(bare.rstrip("/") + A_QUESTION)
        if user and word:
            key = base64.b64encode(f"{user}:{word}".encode()).decode()
            question.add_header("Authorization", f"Basic {key}")
        with urllib.request.urlopen(question, timeout=ANSWER_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, ValueError):  # the second of an address that is none, which MLflow itself complains of
        return 0


def _status_by_mlflow(uri: str) -> HTTPStatus:
    from mlflow.exceptions import MlflowException

    try:
        client(uri).search_experiments(max_results=1)
    except MlflowException as error:
        return HTTPStatus(error.get_http_status_code())
    return HTTPStatus.OK
