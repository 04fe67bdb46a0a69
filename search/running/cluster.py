"""A running Ray: started on this machine, or reached where it runs.

Imports Ray alone, so that Tune can be imported while Ray starts.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
# Ray gives its workers a priority of 15, with which whatever else runs on the machine leaves them a thirtieth of a
# core, and epochs seem to hang. Here they have the one with which the command was started.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever can reach Ray's port can run code: never without

import ray
from ray._private.node import Node

from datasets import head
from search.checks import LOCAL
from search.errors import SearchError
from search.machine import local_cpus
from search.planning.capacity import Nodes, Room, room_of
from search.settings import Cluster

# Nothing is kept in Ray's own store, so it shall not take a third of the memory.
LOCAL_RAY: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 128 << 20}
# Processes that Ray starts beside a head, whatever it is told: one that asks a cloud for machines, one that copies the
# workers' logs to the driver, and one for statistics, for which it waits. No search asks any of them for anything.
SPARED = "start_monitor", "start_log_monitor", "start_api_server"
# On a busy machine a process of Ray's own may need more than its fixed 15 s to tell its port, and then the start fails
# (ray-project/ray#65983). Another start finds its files in memory.
STARTS, START_TIMED_OUT = 3, "timed out during startup"
NO_ENTRY = "Unauthenticated", "InvalidAuthToken"  # what Ray says to a token that is not the cluster's
A_TOKEN = (
    "the cluster takes another token: give RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) the one that its head was started "
    "with, and set RAY_AUTH_MODE=token"
)


@contextmanager
def cluster(wanted: Cluster, tell: Callable[[str], None]) -> Iterator[Room]:
    """A running Ray, and the room it has for trials; a local one ends with the context.

    tell:   shows a person one line.
    raises: SearchError if the cluster can't be reached or no trial would ever fit.
    """
    with _connected(wanted.address, tell):
        yield room_of(wanted, alive_nodes())


def cluster_gpus(address: str) -> float:
    """How many GPUs the cluster at this address has. raises: SearchError if it can't be reached."""
    with _connected(address):
        return float(ray.cluster_resources().get("GPU", 0))


@contextmanager
def _connected(address: str, tell: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    for start in range(1, STARTS + 1):
        try:
            _init(address)
            break
        except SearchError as error:
            if START_TIMED_OUT not in str(error) or start == STARTS:
                raise
            tell(
                f"Ray did not come up in the 30 s that it gives itself; trying again ({start + 1} of {STARTS})"
            )
    try:
        yield
    finally:
        head.leave()


def _init(address: str) -> None:
    try:
        if address != LOCAL:
            head.knock(address, "cluster.address")
    except head.HeadError as error:
        raise SearchError(str(error)) from error
    local = {**LOCAL_RAY, "num_cpus": local_cpus()} if address == LOCAL else {}
    try:
        with _sparing() if address == LOCAL else nullcontext():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # bare Exceptions among it, as when a busy machine takes too long
        what = "start Ray on this machine" if address == LOCAL else f"reach Ray at cluster.address={address}"
        raise SearchError(f"can't {what}: {_why(error, address)}") from error


@contextmanager
def _sparing() -> Iterator[None]:
    """Start no process of Ray's that no search needs: nothing public tells it so."""
    kept = {name: getattr(Node, name) for name in SPARED}
    for name in SPARED:
        setattr(Node, name, lambda node, **words: None)
    try:
        yield
    finally:
        for name, start in kept.items():
            setattr(Node, name, start)


def _why(error: Exception, address: str) -> str:
    """Ray's reason, without its lines; where a token is not the cluster's, what to set."""
    said = " ".join(str(error).split())
    if any(word in said for word in NO_ENTRY):
        return A_TOKEN
    # Ray notes a refused token in its log alone, and then says no more than that it could not connect.
    unsure = address != LOCAL and "Failed to connect" in said
    return f"{said}; something listens there: if it is Ray, {A_TOKEN}" if unsure else said


def alive_nodes() -> Nodes:
    """The resources of each node that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
