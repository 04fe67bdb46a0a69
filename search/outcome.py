"""How a trial stands, in the words of the ledger's readers, of the board, of MLflow's notes and of the pages."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["ENDS", "FAILURE", "OF_STATE", "Outcome", "failure_of"]

FAILURE = "failure"  # the attribute of a trial of the ledger that says of which kind its failure was, and why


class Outcome(StrEnum):
    """A paused trial is a running one in the ledger: its search ends without it, and goes on with it."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    RUNNING = "running"
    PAUSED = "paused"


ENDS = (Outcome.DONE, Outcome.STOPPED, Outcome.FAILED)
# By the name of the state in which Optuna keeps it; a waiting trial has none.
OF_STATE = {
    "COMPLETE": Outcome.DONE,
    "PRUNED": Outcome.STOPPED,
    "FAIL": Outcome.FAILED,
    "RUNNING": Outcome.RUNNING,
}


def failure_of(state: str, attributes: Mapping[str, Any]) -> tuple[str, str]:
    """Of which kind a trial's failure was, and why; both empty where it did not fail.

    state: Optuna's name of it, which decides: a driver that was killed may have written why a trial failed, and not
    that it did.
    """
    told = attributes.get(FAILURE, {}) if state == "FAIL" else {}
    return told.get("kind", ""), told.get("why", "")
