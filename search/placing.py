"""Where trials run: Ray Tune gives them CPUs and GPUs, retries what is lost, reuses its processes.

Three thin classes of ours hand Tune its trials, its stop decisions and its audience.
Tune's own snapshot is never read again: the ledger and the trials' folders are all that a rerun needs.
"""

import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

# Ray and Tune read these when they are imported.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",  # the packages are there already; uv would install them for each worker
    RAY_CHDIR_TO_TRIAL_DIR="0",
    # Ray's own watch over memory ends a worker in a way that Tune 2.60 takes for a fault of its own, and the search
    # with it. Without that the kernel ends the worker, which is a lost process like any other.
    RAY_memory_monitor_refresh_ms="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_GLOBAL_CHECKPOINT_S="86400",  # of snapshots that nobody reads, one at each end is enough
    TUNE_DISABLE_STRICT_METRIC_CHECKING="1",  # a failure is a row, too, and has no score
    RAY_AIR_NEW_OUTPUT="0",  # the newer reporter of Tune's writes tables of its own even when told to be quiet
)
os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever can reach Ray's port can run code: never without

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from datasets.home import home
from search import failures
from search.deciding import Decider
from search.desk import Desk, Watcher
from search.files import TRIALS
from search.halting import Halt
from search.machine import local_cpus
from search.process import TrialProcess
from search.settings import AUTO, LOCAL, Cluster, SearchError

# Nothing is kept in Ray's own store, so it shall not take a third of the memory.
LOCAL_RAY: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 128 << 20}
MOST_AT_ONCE = 10_000  # trials; Tune wants a number, and how many there really are is Places' to say
PLACES_SECONDS = 2.0  # how old a look at the cluster's nodes may be


@dataclass(frozen=True)
class Room:
    """What each trial gets, and how many there are at once."""

    cpus: int
    gpus: float
    at_once: int
    memory_bytes: int

    def bundle(self, needed_bytes: int) -> dict[str, float]:
        """What Ray sets aside for a trial that needs so much memory.

        On a GPU it is the GPU's that counts, and that is shared by fractions. The amounts are powers of two, so that
        one process can take trials of nearly the same size one after the other; what no node has, the largest node
        tries by itself.
        """
        if self.gpus:
            return {"CPU": self.cpus, "GPU": self.gpus}
        amount = 1 << (needed_bytes - 1).bit_length()
        return {"CPU": self.cpus, "memory": min(amount, self.memory_bytes)}


@contextmanager
def cluster(wanted: Cluster) -> Iterator[Room]:
    """A running Ray, and the room it has for trials; a local one ends with the context.

    raises: SearchError if the cluster can't be reached or no trial would ever fit.
    """
    with _connected(wanted.address):
        yield _room(wanted, _alive())


def cluster_gpus(address: str) -> float:
    """How many GPUs the cluster at this address has. raises: SearchError if it can't be reached."""
    with _connected(address):
        return float(ray.cluster_resources().get("GPU", 0))


@contextmanager
def _connected(address: str) -> Iterator[None]:
    local = {**LOCAL_RAY, "num_cpus": local_cpus()} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # bare Exceptions among it, as when a busy machine takes too long
        what = "start Ray on this machine" if address == LOCAL else f"reach Ray at cluster.address={address}"
        raise SearchError(f"can't {what}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _alive() -> list[Mapping[str, float]]:
    """The resources of each node that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(wanted: Cluster, nodes: Sequence[Mapping[str, float]]) -> Room:
    """How many trials fit. nodes: the resources of each: a trial runs on one node, whatever all have together."""
    cpus, gpus = ([node.get(kind, 0) for node in nodes] for kind in ("CPU", "GPU"))
    each = float(min(max(gpus), 1)) if wanted.gpus_per_trial == AUTO else float(wanted.gpus_per_trial)
    threads = _cpus_per_trial(wanted, each, nodes)
    fits = sum(
        min(int(cpu // threads), int(gpu / each) if each else sys.maxsize)
        for cpu, gpu in zip(cpus, gpus, strict=True)
    )
    if fits < 1:
        raise SearchError(
            f"a trial wants {threads} CPUs and {each:g} GPUs, the largest node of the cluster has "
            f"{max(cpus):g} and {max(gpus):g}: no trial would ever start; lower cluster.cpus_per_trial or "
            f"cluster.gpus_per_trial"
        )
    at_once = fits if wanted.trials_at_once == AUTO else min(fits, int(wanted.trials_at_once))
    return Room(threads, each, at_once, int(max(node.get("memory", 0) for node in nodes)))


def _cpus_per_trial(wanted: Cluster, gpus_each: float, nodes: Sequence[Mapping[str, float]]) -> int:
    """The cores of each trial, so that those of a node add up to what it has and none fights another for them.

    On processors one core each, unless the words want fewer trials than there are cores: how many threads a training
    has can change its last digits, so it may not depend on how much is left to do.
    """
    if wanted.cpus_per_trial != AUTO:
        return int(wanted.cpus_per_trial)
    if gpus_each:
        shares = [node.get("CPU", 0) * gpus_each / node["GPU"] for node in nodes if node.get("GPU")]
        return max(int(min(shares, default=1)), 1)
    if wanted.trials_at_once == AUTO:
        return 1
    cpus = [node.get("CPU", 0) for node in nodes]
    return max(int(min(sum(cpus) // int(wanted.trials_at_once), max(cpus))), 1)


class Places:
    """How many trials the cluster has places for just now: nodes come and go while a search runs.

    nodes: gives the resources of each node that is there. clock: seconds.
    """

    def __init__(
        self,
        wanted: Cluster,
        nodes: Callable[[], Sequence[Mapping[str, float]]] = _alive,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._nodes, self._clock = wanted, nodes, clock
        self._count, self._looked = 0, -math.inf

    def count(self) -> int:
        """The number of places; 0 while no node is there that could take a trial."""
        if self._clock() - self._looked > PLACES_SECONDS:
            self._looked = self._clock()
            try:
                self._count = _room(self._wanted, self._nodes()).at_once
            except SearchError:  # the nodes are gone, and may come back
                self._count = 0
        return self._count


def run_trials(
    name: str,
    decider: Decider,
    room: Room,
    watchers: Sequence[Watcher],
    lineage: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Run what the decider assigns until it assigns no more, or until the search is halted.

    name:    of the search. lineage: what the cards of the trained networks say of the search they come from.
    tell:    shows a person one line.
    raises:  what the search was halted with; KeyboardInterrupt after Ctrl-C, EndNow after two.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    common = {
        "home": str(home()),
        "trials": os.environ.get(TRIALS, ""),
        "threads": room.cpus,
        "lineage": lineage,
    }
    halt = Halt(tell)
    desk = Desk(decider, watchers, common, halt, bool(room.gpus))
    places = Places(decider.job.settings.cluster)
    snapshots = home() / "ray"  # Tune insists on writing them; nobody reads them
    tuner = tune.Tuner(
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
    try:
        with halt.listening():
            tuner.fit()
    except KeyboardInterrupt:  # Leave; Ray makes a plain one of it where a signal finds it waiting
        if halt.error is None:
            raise
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        raise SearchError(
            "a node of the cluster ran out of memory, and its Ray ended a trial; start its nodes with "
            "RAY_memory_monitor_refresh_ms=0, or lower cluster.trials_at_once; the same command goes on"
        ) from error
    finally:
        shutil.rmtree(snapshots / name, ignore_errors=True)
    if halt.error is not None:
        raise halt.error


def _placed(room: Room, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([room.bundle(config["memory_bytes"])])


class StudySearcher(Searcher):
    """Hands Tune the study's trials, as many as there are places for, and the study their ends."""

    def __init__(self, desk: Desk, places: Places) -> None:
        super().__init__(metric="valid_roc_auc", mode="max")
        self.desk, self.places = desk, places

    # Tune's own annotation leaves out FINISHED, a string that it documents.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self.desk.halt.error is None and len(self.desk.assignments) >= self.places.count():
            return None  # Tune asks again
        return self.desk.assign(trial_id) or Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.desk.end(trial_id, lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the same command again reads the study."""


class StudyScheduler(FIFOScheduler):
    """Stops the trials that the study's pruner would stop."""

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
