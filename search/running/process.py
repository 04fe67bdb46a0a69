"""What runs in a worker of Ray's: one trial after another, or several together, an epoch a step.

Imports no more than that takes: a search waits for its workers to start.
"""

import contextlib
import gc
import os
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from search import failures, files
from search.running import halting
from search.settings import TrialSettings
from search.trials.attempts import Limit

if TYPE_CHECKING:
    from search.running.companions import Companions
    from search.trials.group import Group, Told
    from search.trials.team import Team
    from search.trials.trial import Trial


class TrialProcess(tune.Trainable):
    """A worker's end: one epoch a step. What a trial does wrong is told as a row, so that Tune retries only losses.

    Of several trials a row says by `place` whose it is; the last one of a trial is marked as `last`, or as a failure.
    """

    def setup(self, config: dict[str, Any]) -> None:
        os.environ["WAVEZOO_HOME"] = config["home"]
        os.environ["WAVEZOO_TRIALS"] = config.get("trials", "")
        self.assigned = config
        self.settings = [
            TrialSettings.from_json(each) for each in (config["settings"], *config.get("beside", ()))
        ]
        self.group: Group | None = None
        self.rows: Iterator[Told] = iter(())
        self.companions: Companions | None = None

    def cleanup(self) -> None:
        """Let go of the trials: their folders for others, their memory on the GPU for the trials beside them."""
        import torch

        if self.group is not None:
            self.group.close()
            self.group, self.rows = None, iter(())
        if self.companions is not None:
            self.companions.close()
            self.companions = None
        if torch.cuda.is_initialized():
            gc.collect()  # a trial and its training know each other
            torch.cuda.empty_cache()

    def step(self) -> dict[str, Any]:
        from search.trials.trial import Paused

        try:
            row = self._advance()
        except Paused:
            self.cleanup()
            return {"done": True, "paused": True}
        except Exception as error:
            if self.companions is not None and self.companions.are_lost():
                os._exit(1)  # a trial is lost with any of its processes, and goes on as a lost one does
            self.cleanup()
            if len(self.settings) > 1:  # the desk hands each of them out by itself, and that tells more
                return {"done": True}
            return {"done": True, "failure": _failure(error, self.settings[0].signature())}
        row["done"] = self.group is None or not self.group.trials
        if row["done"]:
            self.cleanup()
        return row

    def _advance(self) -> dict[str, Any]:
        """The next row; of no trial if none of those that are left is wanted any more."""
        if self.group is None:
            self._begin()
        assert self.group is not None
        place, told = next(self.rows, (0, {}))
        signature = self.settings[place].signature()
        if isinstance(told, Exception):
            if len(self.settings) == 1:
                raise told
            told = {"failure": _failure(told, signature)}
        elif told and place not in self.group.had_ended:
            told = {**told, **self._taken(told)}  # before the note, behind which torch counts the peak anew
            self.usage.note(signature, told["epoch"])
        return {**told, "gpus": self.assigned.get("gpus", 0.0), "place": place}

    def _begin(self) -> None:
        import torch

        from search.trials import worker
        from search.trials.beginning import Feeds
        from search.trials.group import Group
        from search.trials.usage import Usage

        worker.prepare(self.assigned["threads"], self.assigned.get("gpus", 0.0))
        self.device = "cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu"
        self.feeds, self.halted = Feeds(), halting.Look()
        self.group = Group(
            [partial(self._open, settings) for settings in self.settings],
            lambda place: not halting.is_left_out(self.settings[place].signature()),
        )
        self.rows, self.usage = iter(self.group), Usage()
        self.counted = [*range(len(self.settings))]  # whose peak torch counts since the last row

    def _open(self, settings: TrialSettings) -> "Trial":
        from search.trials.trial import Trial

        limit = self.assigned.get("limit")
        return Trial(
            settings,
            self.device,
            self.assigned["lineage"],
            limit=Limit(**limit) if limit else None,
            halted=self.halted,
            gpus=self.assigned.get("gpus", 0.0),
            gather=self._gather,
            beside=[each.signature() for each in self.settings if each is not settings],
            feeds=self.feeds,
        )

    def _taken(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the trials that trained an epoch at once took of a GPU's memory, and their places.

        Nothing where that does not tell what they need: of a rest of an epoch, of batches in parts, and while the peak
        may be others', as behind a memory that was too small for all.
        """
        from search.trials import worker

        assert self.group is not None
        places, before = self.group.at_once, self.counted
        self.counted = places
        whole = all(row["micro_batch_size"] == self.settings[place].training.batch_size for place in places)
        on_gpu = self.device == "cuda" and self.assigned.get("gpus")
        if not (on_gpu and whole and places and places == before):
            return {}
        return {"gpu": {**worker.gpu_use(self.feeds.music_bytes), "places": places}}

    def _gather(self, device: str) -> "Team":
        """The processes that train this trial, where it takes several GPUs."""
        from search.planning.capacity import processes_for
        from search.running.companions import Companions
        from search.trials.team import ALONE

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
