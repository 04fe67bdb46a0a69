"""How a trial stands, in the words of the ledger's readers, of the board, of MLflow's notes and of the pages."""

from enum import StrEnum

__all__ = ["ENDS", "OF_STATE", "Outcome"]


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
