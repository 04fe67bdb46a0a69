"""What runs in a worker of Ray's: one trial after another, an epoch a step.

Imports no more than that takes: a search waits for its workers to start.
"""

import contextlib
import gc
import os
import traceback
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from search import failures, files, halting
from search.attempts import Limit
from search.settings import TrialSettings

if TYPE_CHECKING:
    from search.companions import Companions
    from search.team import Team
    from search.trial import Trial


class TrialProcess(tune.Trainable):
    """A worker's end: one epoch a step. What a trial does wrong is told as a row, so that Tune retries only losses."""

    def setup(self, config: dict[str, Any]) -> None:
        os.environ["WAVEZOO_HOME"] = config["home"]
        os.environ["WAVEZOO_TRIALS"] = config.get("trials", "")
        self.assigned = config
        self.trial: Trial | None = None
        self.companions: Companions | None = None

    def cleanup(self) -> None:
        """Let go of the trial: its folder for others, its memory on the GPU for the trials beside this one."""
        import torch

        if self.trial is not None:
            self.trial.close()
            self.trial = None
        if self.companions is not None:
            self.companions.close()
            self.companions = None
        if torch.cuda.is_initialized():
            gc.collect()  # a trial and its training know each other
            torch.cuda.empty_cache()

    def step(self) -> dict[str, Any]:
        from search.trial import Paused

        try:
            row = self._advance()
        except Paused:
            self.cleanup()
            return {"done": True, "paused": True}
        except Exception as error:
            if self.companions is not None and self.companions.are_lost():
                os._exit(1)  # a trial is lost with any of its processes, and goes on as a lost one does
            self.cleanup()
            return {"done": True, "failure": _failure(error, self.assigned["signature"])}
        taken = self._taken()
        if row["last"]:
            self.cleanup()
        return {**row, **taken, "done": row["last"]}

    def _taken(self) -> dict[str, Any]:
        """What the trial has of a GPU, and what it took of its memory."""
        from search import worker

        gpus, trial = self.assigned.get("gpus", 0.0), self.trial
        if not gpus or trial is None or trial.device.type != "cuda":
            return {"gpus": gpus}
        return {"gpus": gpus, "gpu": worker.gpu_use(trial.music_bytes)}

    def _advance(self) -> dict[str, Any]:
        import torch

        from search import trial as trials
        from search import worker
        from search.usage import Usage

        if self.trial is None:
            worker.prepare(self.assigned["threads"], self.assigned.get("gpus", 0.0))
            device = "cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu"
            settings = TrialSettings.from_json(self.assigned["settings"])
            limit = self.assigned.get("limit")
            self.trial = trials.Trial(
                settings,
                device,
                self.assigned["lineage"],
                limit=Limit(**limit) if limit else None,
                halted=halting.Look(),
                gpus=self.assigned.get("gpus", 0.0),
                gather=self._gather,
            )
            self.usage = Usage()
        had_ended = self.trial.result is not None
        row = self.trial.advance()
        if not had_ended:
            self.usage.note(self.assigned["signature"], row["epoch"])
        return row

    def _gather(self, device: str) -> "Team":
        """The processes that train this trial, where it takes several GPUs."""
        from search.companions import Companions
        from search.rooms import processes_for
        from search.team import ALONE

        ranks = processes_for(self.assigned.get("gpus", 0.0))
        if ranks == 1:
            return ALONE
        self.companions = Companions(self.assigned, ranks)
        return self.companions.meet(device)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: the trial saves itself after each epoch."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: the trial goes on from its folder."""


def _failure(error: Exception, signature: str) -> dict[str, str]:
    """The kind of a failure and one line about it; what is not foreseen leaves its trace in the trial's folder."""
    kind, why = failures.kind_of(error), failures.why(error)
    if kind is failures.ERROR:
        path = files.trial_folder(signature) / "error.txt"
        with contextlib.suppress(OSError):
            files.write_text(path, traceback.format_exc())
        why = f"{type(error).__name__}: {why} (more in {path})"
    return {"kind": kind.name, "why": why}
