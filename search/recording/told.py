"""Which trials MLflow has runs of, and whether they tell all that there is to tell.

A run is marked with its trial's signature, and at its very end with a digest of the result that it tells. What FINISHED
alone says could be of an earlier training, or of a driver that had no folder to take scores and weights from.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from search.outcome import Outcome
from search.recording.marks import REPLACED, RESULT, SIGNATURE
from search.settings import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLOCKS_APART_MS = 10 * 60_000  # by which the clocks of two drivers may differ
# A paused one is to go on: MLflow's word for a run that has not begun comes nearest.
STATUS = {
    Outcome.DONE: "FINISHED",
    Outcome.STOPPED: "KILLED",
    Outcome.FAILED: "FAILED",
    Outcome.RUNNING: "RUNNING",
    Outcome.PAUSED: "SCHEDULED",
}
Result = Mapping[str, Any] | None


class Run(NamedTuple):
    """A trial's run as MLflow has it. result: the digest of the result that it tells whole; "" for none."""

    run_id: str
    status: str
    result: str = ""


class Told:
    """The runs of an experiment, by the signatures of their trials."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._known_until_ms = 0

    def learn(self, mlflow: "MlflowClient", experiment_id: str) -> None:
        """Take note of the runs of trials that others have started since the last look."""
        now, token = int(time.time() * 1000), None
        since = f"attributes.start_time >= {max(self._known_until_ms - CLOCKS_APART_MS, 0)}"
        while True:
            page = mlflow.search_runs([experiment_id], since, page_token=token)
            for run in page:
                tags = run.data.tags
                if SIGNATURE in tags:
                    known = Run(str(run.info.run_id), run.info.status, tags.get(RESULT, ""))
                    self._runs[tags[SIGNATURE]] = known
            token = page.token
            if not token:
                break
        self._known_until_ms = now

    @property
    def signatures(self) -> set[str]:
        """Of the trials that have runs, as far as that was learned."""
        return set(self._runs)

    def run(self, signature: str) -> Run | None:
        """The trial's run; None where none is known."""
        return self._runs.get(signature)

    def opened(self, signature: str, run_id: str) -> None:
        """This driver has made the trial's run, or goes on with it."""
        self._runs[signature] = Run(run_id, STATUS[Outcome.RUNNING])

    def is_told(self, signature: str, outcome: Outcome | None, result: Result) -> bool:
        """Whether an earlier driver has copied the trial to this very end.

        outcome: None for a trial that runs. One that is trained again leaves the run of its earlier training alone
                 until it has ended: only then is it known to be another result.
        result:  what is in the trial's folder.
        """
        run = self._runs.get(signature)
        if run is None:
            return False
        if run.status != STATUS[Outcome.DONE]:
            return outcome is not None and run.status == STATUS[outcome]
        if outcome is Outcome.DONE:
            return bool(run.result) and (result is None or run.result == digest(result))
        return outcome is None

    def set_aside(self, mlflow: "MlflowClient", signature: str, result: Result) -> None:
        """Let go of a run that tells another result: it stays, as a model may have been made of it.

        Numbers can't be taken out of a run of MLflow's, so those of two trainings don't go into one.
        """
        run = self._runs.get(signature)
        if run is None or run.result in ("", result and digest(result)):
            return
        mlflow.set_tag(run.run_id, REPLACED, signature)
        # Else an answer was lost, and this is the second time
        if SIGNATURE in mlflow.get_run(run.run_id).data.tags:
            mlflow.delete_tag(run.run_id, SIGNATURE)
        del self._runs[signature]
