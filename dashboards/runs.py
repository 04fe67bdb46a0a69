"""Which run of MLflow's belongs to which trial: asked for in the background, as a server may be slow or away."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from search.errors import SearchError

AGAIN_SECONDS = 10.0  # a run that is not known is asked for again after so long
PATIENCE_SECONDS = 60.0
PAGE = 1000  # runs in an answer


class Runs:
    """The runs of all searches on a server. address: http or https; None for none.

    patient: whoever asks waits for the server, for a while.
    raises: SearchError for any other address.
    """

    def __init__(self, address: str | None = None, patient: bool = False) -> None:
        if address and not address.startswith(("http://", "https://")):
            raise SearchError(
                f"mlflow={address}: give the address of its server, as mlflow=http://127.0.0.1:5000"
            )
        self.uri = address.rstrip("/") if address else None
        self.patient = patient
        self._shown = _without_user(self.uri) if self.uri else ""
        self._runs: dict[tuple[str, str], str] = {}
        self._since_ms, self._asked = 0, -AGAIN_SECONDS
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._idle.set()

    def address_of(self, search: str, signature: str) -> str:
        """The address of a trial's run in MLflow's pages; "" where none is known, which is asked for meanwhile."""
        found = self._known(search, signature)
        if not found and self.uri:
            self._ask()
            if self.patient:
                self._idle.wait(PATIENCE_SECONDS)
                return self._known(search, signature)
        return found

    def _known(self, search: str, signature: str) -> str:
        return self._runs.get((search, signature)) or self._runs.get(("", signature), "")

    def wait(self, seconds: float) -> None:
        """Until the server has answered what it was asked."""
        self._idle.wait(seconds)

    def _ask(self) -> None:
        with self._lock:
            if not self._idle.is_set() or time.monotonic() - self._asked < AGAIN_SECONDS:
                return
            self._idle.clear()
            self._asked = time.monotonic()
        threading.Thread(target=self._learn, name="mlflow-runs", daemon=True).start()

    def _learn(self) -> None:
        try:
            from search.recording.store import client
            from search.recording.told import CLOCKS_APART_MS

            assert self.uri is not None
            now = int(time.time() * 1000)
            self._take(client(self.uri), max(self._since_ms - CLOCKS_APART_MS, 0))
            self._since_ms = now
        # Whatever a server or a network can do: pages do without links, the next look tries again
        except Exception:
            pass
        finally:
            self._idle.set()

    def _take(self, mlflow: Any, since_ms: int) -> None:
        """Note the runs that began since then."""
        from search.recording.marks import PARENT, SIGNATURE, STUDY

        experiments = [each.experiment_id for each in mlflow.search_experiments()]
        found = _all_runs(mlflow, experiments, f"attributes.start_time >= {since_ms}")
        of_runs = {run.info.run_id: run.data.tags for run in found}
        searches = {key: tags[STUDY] for key, tags in of_runs.items() if STUDY in tags}
        for run in found:
            tags = run.data.tags
            if SIGNATURE not in tags:
                continue
            place = f"{self._shown}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            parent = tags.get(PARENT, "")
            if parent and parent not in searches:  # it began before
                searches[parent] = mlflow.get_run(parent).data.tags.get(STUDY, "")
            self._runs[searches.get(parent, ""), tags[SIGNATURE]] = place
            self._runs["", tags[SIGNATURE]] = place


def _all_runs(mlflow: Any, experiments: list[str], wanted: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while experiments:
        page = mlflow.search_runs(experiments, wanted, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    return found


def _without_user(address: str) -> str:
    """The address without a user and a password, which no page may show."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
