"""`python -m search.run` with trials that go wrong.

python tests/faulty_trials.py FAULT key=value ...
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from datasets.home import home
from search import run  # placing before all that imports Ray, as it sets what Ray reads then
from search.running import placing  # placing before all that imports Ray, as it sets what Ray reads then
from search.running.process import TrialProcess
from search.trials import trial as trials


class Stuck(TrialProcess):
    """Never gets anywhere, and hears of nothing."""

    def _advance(self) -> dict[str, Any]:
        (Path(self.assigned["home"]) / "stuck").touch()
        threading.Event().wait()
        return {}


class StuckOnce(TrialProcess):
    """The first process at a trial hangs in the middle of its first epoch."""

    def _advance(self) -> dict[str, Any]:
        trials.Trial._between = self._between_once
        return super()._advance()

    @staticmethod
    def _between_once(trial: trials.Trial) -> None:
        if not (trial.folder / "stuck").exists():
            (trial.folder / "stuck").touch()
            threading.Event().wait()


class Waiting(TrialProcess):
    """Tells when a first batch has been trained, and trains no second one before it is halted."""

    between = trials.Trial._between

    def _advance(self) -> dict[str, Any]:
        trials.Trial._between = self._between_told
        return super()._advance()

    @staticmethod
    def _between_told(trial: trials.Trial) -> None:
        (home() / "begun").touch()
        while not trial.halted():
            time.sleep(0.05)  # a poll, not a guess
        Waiting.between(trial)


FAULTS = {"stuck": Stuck, "stuck once": StuckOnce, "waiting": Waiting}

if __name__ == "__main__":
    import faulty_trials

    placing.TrialProcess = faulty_trials.FAULTS[sys.argv[1]]
    sys.exit(run.main(sys.argv[2:]))
