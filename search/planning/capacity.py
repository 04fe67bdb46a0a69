"""The room that a cluster has for trials: what each gets, and how many there are at once. Ray is asked elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search.checks import AUTO
from search.errors import SearchError
from search.planning.packing import MOST_ON_ONE
from search.settings import Cluster

LOOK_SECONDS = 2.0  # how old a look at the cluster's nodes may be
SLOT_OF_SHARE = 0.75
Nodes = Sequence[Mapping[str, float]]  # the resources of each node


@dataclass(frozen=True)
class Room:
    """What each trial gets, and how many there are at once.

    cpus, gpus: of a trial that shares its GPU with no other, or of every trial where the words say so.
    at_once:    trials that get as much. most_at_once: those where GPUs may be shared by what trials need.
    gpus_in_all, memory_bytes: of the cluster, and of its largest node.
    shared:     whether each trial's part of a GPU follows from what it needs, and its cores from that part.
    slot_bytes: of memory, that a trial is given at least; as many fit on a node as it has cores for.
    """

    cpus: int
    gpus: float
    at_once: int
    memory_bytes: int
    most_at_once: int = 0
    gpus_in_all: float = 0.0
    cpus_follow: bool = False
    shared: bool = False
    slot_bytes: int = 1

    def threads(self, gpus: float) -> int:
        """The cores of each process of a trial with this part of a GPU, or so many."""
        whole = max(int(self.cpus * gpus), 1) if self.cpus_follow and gpus < 1 and self.gpus else self.cpus
        return whole // processes_for(gpus)

    def bundles(self, needed_bytes: int, gpus: float | None = None) -> list[dict[str, float]]:
        """What Ray sets aside for each process of a trial."""
        return [self.bundle(needed_bytes, gpus)] * processes_for(self.gpus if gpus is None else gpus)

    def bundle(self, needed_bytes: int, gpus: float | None = None) -> dict[str, float]:
        """What Ray sets aside for a process of a trial that needs so much memory.

        On a GPU it is the GPU's that counts, and that is shared by fractions. A trial gets a slot such as every trial
        has room for, doubled as often as it needs: a process of Ray's takes only trials that ask for the same as its
        first, and a new one costs seconds. What no node has, the largest node tries by itself.
        """
        if self.gpus:
            part = self.gpus if gpus is None else gpus
            return {"CPU": self.threads(part), "GPU": part / processes_for(part)}
        slots = -(-needed_bytes // self.slot_bytes)
        amount = self.slot_bytes << (slots - 1).bit_length()
        return {"CPU": self.cpus, "memory": min(amount, self.memory_bytes)}


def processes_for(gpus: float) -> int:
    """How many processes train a trial that has so many GPUs, or a part of one: one for each."""
    return max(int(gpus), 1)


def room_of(wanted: Cluster, nodes: Nodes) -> Room:
    """How many trials fit: a trial runs on one node, whatever all have together.

    raises: SearchError if none would ever fit.
    """
    cpus, gpus = ([node.get(kind, 0) for node in nodes] for kind in ("CPU", "GPU"))
    shared = wanted.gpus_per_trial == AUTO and max(gpus, default=0) > 0
    each = float(min(max(gpus), 1)) if wanted.gpus_per_trial == AUTO else float(wanted.gpus_per_trial)
    threads = max(_cpus_per_trial(wanted, each, nodes), processes_for(each))
    fits = sum(_fitting(node, threads, each) for node in nodes)
    if fits < 1:
        raise SearchError(
            f"a trial wants {threads} CPUs and {each:g} GPUs, the largest node of the cluster has "
            f"{max(cpus):g} and {max(gpus):g}: no trial would ever start; lower cluster.cpus_per_trial or "
            f"cluster.gpus_per_trial"
        )
    follow = shared and wanted.cpus_per_trial == AUTO
    at_least = (1 if follow else threads, 1 / MOST_ON_ONE)
    most = sum(_fitting(node, *at_least) for node in nodes) if shared else fits
    limit = sys.maxsize if wanted.trials_at_once == AUTO else int(wanted.trials_at_once)
    memory = int(max(node.get("memory", 0) for node in nodes))
    shares = [node.get("memory", 0) / count for node in nodes if (count := _fitting(node, threads, each))]
    return Room(
        threads,
        each,
        min(fits, limit),
        memory,
        min(most, limit),
        float(sum(gpus)),
        follow,
        shared,
        _slot(min(shares)),
    )


def _slot(share_bytes: float) -> int:
    """A power of two well below what there is for each trial.

    No two nodes have quite the same memory: a trial that asks for all of one's share would never start on another.
    """
    return 1 << max(int(SLOT_OF_SHARE * share_bytes).bit_length() - 1, 0)


def _fitting(node: Mapping[str, float], threads: int, gpus_each: float) -> int:
    """How many trials of so many threads and GPUs a node has room for."""
    return min(
        int(node.get("CPU", 0) // threads),
        int(node.get("GPU", 0) / gpus_each) if gpus_each else sys.maxsize,
    )


def _cpus_per_trial(wanted: Cluster, gpus_each: float, nodes: Nodes) -> int:
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


def gpu_types(nodes: Nodes) -> list[str]:
    """The kinds of GPU of a cluster, as Ray calls them."""
    mark = "accelerator_type:"
    return sorted({key.removeprefix(mark) for node in nodes for key in node if key.startswith(mark)})


class Places:
    """How many trials the cluster has places for just now: nodes come and go while a search runs.

    nodes: gives the resources of each node that is there. clock: seconds. gpus: of all nodes, at the last look.
    """

    def __init__(
        self, wanted: Cluster, nodes: Callable[[], Nodes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wanted, self._nodes, self._clock = wanted, nodes, clock
        self._count, self._looked = 0, -math.inf
        self.gpus = 0.0

    def count(self) -> int:
        """The number of places; 0 while no node is there that could take a trial."""
        if self._clock() - self._looked > LOOK_SECONDS:
            self._looked = self._clock()
            try:
                room = room_of(self._wanted, self._nodes())
                self._count, self.gpus = room.most_at_once, room.gpus_in_all
            except SearchError:  # the nodes are gone, and may come back
                self._count, self.gpus = 0, 0.0
        return self._count
