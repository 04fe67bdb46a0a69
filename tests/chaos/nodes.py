"""A Ray cluster of several nodes on this machine, of a test's own, whose nodes and workers can be killed."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray._raylet import AuthenticationTokenLoader, Config
from ray.cluster_utils import Cluster

SMALL: dict[str, Any] = {"object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
# Ray takes 20 seconds to believe that a node is gone; these take three.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


@dataclass(frozen=True)
class Nodes:
    """A head that only drives, and nodes with one CPU each."""

    cluster: Cluster

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    @property
    def all(self) -> list[Node]:
        """The nodes that train, oldest first."""
        return sorted(self.cluster.worker_nodes, key=raylet)

    def add(self) -> Node:
        return self.cluster.add_node(num_cpus=1, **SMALL)

    def kill(self, node: Node) -> None:
        """Its raylet gets SIGKILL, and what it had started ends by itself, as on a machine that is cut off."""
        self.cluster.remove_node(node, allow_graceful=False)

    def trainers(self) -> dict[int, Node]:
        """The processes that train, each with its node."""
        by_raylet = {raylet(node): node for node in self.all}
        return {pid: by_raylet[of] for pid, of in _trainers() if of in by_raylet}


def raylet(node: Node) -> int:
    """The process that is the node."""
    (found,) = node.all_processes["raylet"]
    return int(found.process.pid)


def holder(folder: Path) -> int | None:
    """The process that trains a trial: it has the lock of the trial's folder open."""
    for pid, _ in _trainers():
        try:
            files = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:  # it has ended meanwhile
            continue
        if str(folder / "lock") in files:
            return pid
    return None


def _trainers() -> Iterator[tuple[int, int]]:
    """Every process of Ray's that trains, with its parent."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, status = (process / "cmdline").read_bytes(), (process / "stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        # Between two steps a process is called as its class is.
        if title.startswith(b"ray::") and (b"Trainable" in title or b"TrialProcess" in title):
            yield int(process.name), int(status.rpartition(")")[2].split()[1])


@contextmanager
def ray_nodes(count: int) -> Iterator[Nodes]:
    """A head and so many nodes, with a token of their own in this process's environment; they end with the context."""
    mine = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_worker_niceness": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else a driver takes 127.0.0.1 for the machine's own address
        **IMPATIENT,
    }
    before = dict(os.environ)
    folder = Path("/tmp") / f"wz{secrets.token_hex(4)}"  # sockets want a short path
    os.environ.update(mine)
    _read_again()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder)},
    )
    try:
        nodes = Nodes(cluster)
        for _ in range(count):
            nodes.add()
        yield nodes
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)
        _read_again()
        shutil.rmtree(folder, ignore_errors=True)


def _read_again() -> None:
    """Ray keeps what it has read of the environment."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
