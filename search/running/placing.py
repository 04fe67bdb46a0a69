"""Where trials run: Ray Tune gives them CPUs and GPUs, retries what is lost, reuses its processes.

Three thin classes of ours hand Tune its trials, its stop decisions and its audience.
Tune's own snapshot is never read again: the ledger and the trials' folders are all that a rerun needs.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from search.running.cluster import alive_nodes  # before Tune, which reads at its import what is set in there

# isort: split
from ray import tune
from ray.air._internal import usage
from ray.exceptions import OutOfMemoryError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from datasets.home import home
from search import failures
from search.checks import LOCAL
from search.errors import SearchError
from search.files import TRIALS
from search.planning import throughput
from search.planning.capacity import Places, Room, gpu_types
from search.planning.packing import Packer, Seen
from search.running.desk import Desk, Watcher
from search.running.halting import Halt
from search.running.meter import Meter
from search.running.process import TrialProcess
from search.study.deciding import Decider

OUT_OF_MEMORY = (
    "a node of the cluster ran out of memory, and its Ray ended a trial; start its nodes with "
    "RAY_memory_monitor_refresh_ms=0, or lower cluster.trials_at_once; the same command goes on"
)
MOST_AT_ONCE = 10_000  # trials; Tune wants a number, and how many there really are is Places' to say


def run_trials(
    name: str,
    decider: Decider,
    room: Room,
    watchers: Sequence[Watcher],
    lineage: dict[str, Any],
    tell: Callable[[str], None],
    meter: Meter,
) -> None:
    """Run what the decider assigns until it assigns no more, or until the search is halted.

    name:    of the search. lineage: what the cards of the trained networks say of the search they come from.
    tell:    shows a person one line. meter: halts the search when it has taken all that it may.
    raises:  what the search was halted with; KeyboardInterrupt after Ctrl-C, EndNow after two, Reached.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    common = {"home": str(home()), "trials": os.environ.get(TRIALS, ""), "lineage": lineage}
    halt = Halt(tell)
    desk = Desk(decider, [*watchers, meter], common, halt, room, _packer(room))
    places = Places(decider.job.settings.cluster, alive_nodes)
    snapshots = home() / "ray"  # Tune insists on writing them; nobody reads them
    tuner = _tuner(name, desk, places, room, snapshots)
    try:
        with (
            _without_delays(decider.job.settings.cluster.address),
            halt.listening(),
            meter.watching(lambda reached: halt.ask(reached, str(reached))),
        ):
            tuner.fit()
    except KeyboardInterrupt:  # Leave; Ray makes a plain one of it where a signal finds it waiting
        if halt.error is None:
            raise
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        raise SearchError(OUT_OF_MEMORY) from error
    finally:
        shutil.rmtree(snapshots / name, ignore_errors=True)
    if halt.error is not None:
        raise halt.error


def _tuner(name: str, desk: Desk, places: Places, room: Room, snapshots: Path) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(TrialProcess, partial(_placed, room)),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(desk, places),
            scheduler=StudyScheduler(desk),
            num_samples=-1,
            max_concurrent_trials=MOST_AT_ONCE,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(snapshots),
            verbose=0,
            callbacks=[StudyCallback(desk)],
            failure_config=tune.FailureConfig(max_failures=failures.LOST_TRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


@contextmanager
def _without_delays(address: str) -> Iterator[None]:
    """Keep Tune from what only takes time before the first trial.

    It counts which callbacks are used, for statistics that are switched off here, and imports MLflow for that. And it
    sets variables for its trials, for which Ray starts other processes than those that have started with it; trials of
    this machine inherit those variables anyway.
    """
    kept = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE, usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    if address == LOCAL:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE, usage.tag_callbacks = kept


def _placed(room: Room, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    # On one machine, where what they tell each other takes the shortest way.
    return tune.PlacementGroupFactory(
        room.bundles(config["memory_bytes"], config["gpus"]), strategy="STRICT_PACK"
    )


def _packer(room: Room) -> Packer:
    """Who says what part of a GPU a trial gets, with what earlier searches saw on GPUs of these kinds."""
    if not room.shared:
        return Packer(room.gpus, room.gpus_in_all)
    notes = [note for kind in gpu_types(alive_nodes()) for note in throughput.memory(kind)]
    return Packer(None, room.gpus_in_all, [Seen(*note) for note in notes])


class StudySearcher(Searcher):
    """Hands Tune the study's trials, as many as there are places for, and the study their ends."""

    def __init__(self, desk: Desk, places: Places) -> None:
        super().__init__(metric="valid_roc_auc", mode="max")
        self.desk, self.places = desk, places

    # Tune's own annotation leaves out FINISHED, a string that it documents.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self.desk.halt.error is None and len(self.desk.hands) >= self.places.count():
            return None  # Tune asks again
        self.desk.packer.gpus = self.places.gpus
        config = self.desk.assign(trial_id)
        waits = self.desk.may_have_more and self.desk.halt.error is None
        return config or (None if waits else Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.desk.end(trial_id, lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the same command again reads the study."""


class StudyScheduler(FIFOScheduler):
    """Stops the trials that the study's pruner would stop; of several in one process the desk stops each by itself."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        stop = self.desk.should_stop(trial.trial_id, result)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


class StudyCallback(tune.Callback):
    """Passes every row on: Tune shows a scheduler only those after which a trial may go on, and those flattened."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self.desk.tell(trial.trial_id, result)

    def on_trial_recover(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self.desk.recovered(trial.trial_id)
