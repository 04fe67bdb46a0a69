"""What runs in a worker of Ray's: one trial after another, an epoch a step.

Imports no more than that takes: a search waits for its workers to start.
"""

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from datasets import DatasetError
from search.settings import SearchError, TrialSettings

if TYPE_CHECKING:
    from search.trial import Trial


class TrialProcess(tune.Trainable):
    """A worker's end: one epoch a step. What a trial does wrong is told as a row, so that Tune retries only losses."""

    def setup(self, config: dict[str, Any]) -> None:
        os.environ["WAVEZOO_HOME"] = config["home"]
        os.environ["WAVEZOO_TRIALS"] = config.get("trials", "")
        self.assigned = config
        self.trial: Trial | None = None

    def cleanup(self) -> None:
        """Let go of the trial: its folder for others, its memory on the GPU for the trials beside this one."""
        import torch

        if self.trial is not None:
            self.trial.close()
            self.trial = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def step(self) -> dict[str, Any]:
        try:
            row = self._advance()
        except Exception as error:
            self.cleanup()
            return {"done": True, "failure": _failure(error, self.assigned["signature"])}
        if row["last"]:
            self.cleanup()
        return {**row, "done": row["last"]}

    def _advance(self) -> dict[str, Any]:
        import torch

        from search import trial as trials
        from search import worker

        if self.trial is None:
            worker.prepare(self.assigned["threads"])
            device = "cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu"
            settings = TrialSettings.from_json(self.assigned["settings"])
            self.trial = trials.Trial(settings, device, self.assigned["lineage"])
        return self.trial.advance()

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
    import torch

    from search import files
    from search.training import Diverged

    trace = traceback.format_exc()
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Diverged):
        return {"kind": "diverged", "why": why}
    if isinstance(error, SearchError | DatasetError):
        return {"kind": "refused", "why": why}
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return {"kind": "out of memory", "why": why}
    path = files.trial_folder(signature) / "error.txt"
    with contextlib.suppress(OSError):  # a full disk is told by the failure itself
        files.write_text(path, trace)
    return {"kind": "error", "why": f"{type(error).__name__}: {why} (more in {path})"}
