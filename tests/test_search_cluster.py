"""A search on a Ray cluster that was there before it, as the README tells."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private import services
from ray_head import ray_head

from search.checks import LOCAL
from search.errors import ConfigError, SearchError
from search.planning.capacity import LOOK_SECONDS, Places, gpu_types, room_of
from search.running import cluster
from search.settings import Cluster
from search.words import read_words


@pytest.mark.slow
def test_a_search_runs_on_a_cluster_that_is_there(fresh_home: Path, mlflow_db: Path, tmp_path: Path) -> None:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    space = tmp_path / "one.py"
    space.write_text(
        '"""One: a single small network."""\n'
        "from search.spaces import Point\n"
        "GRID = [{}]\n"
        "def sample(trial):\n"
        '    return Point("samplecnn_m3_n3_s729")\n'
    )
    words = [f"space={space}", "dataset=demo", "budget=small", "budget.multiply_adds_per_epoch=5e8"]
    with ray_head() as (address, environment):
        answer = subprocess.run(
            [sys.executable, "-m", "search.run", *words, f"cluster.address={address}"],
            env={**environment, "MLFLOW_TRACKING_URI": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "is version 1 of demo-one and is its champion" in answer.stdout


LOCAL_HEAD = """
import os
from search.running.cluster import SPARED, cluster
import ray
from ray._private import worker
from ray._private.node import Node
from search.settings import Cluster

starts = [getattr(Node, name) for name in SPARED]
with cluster(Cluster(), print):
    print(*sorted(worker._global_node.all_processes))
    print(ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))
assert starts == [getattr(Node, name) for name in SPARED]
"""


@pytest.mark.slow
def test_a_head_of_this_machine_starts_no_process_that_no_search_asks_and_gives_trials_its_own_priority() -> (
    None
):
    """And leaves Ray as it was: another head may be started later."""
    command = [sys.executable, "-c", LOCAL_HEAD]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (answer.returncode, answer.stdout) == (0, "gcs_server raylet\n0\n"), answer.stderr


@pytest.fixture
def listening() -> Iterator[str]:
    """HOST:PORT of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def deaf() -> Iterator[str]:
    """HOST:PORT of a port that is taken, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def refused_by(monkeypatch: pytest.MonkeyPatch, why: str, address: str) -> str:
    """The line for a person where Ray gives up for that reason."""

    def init(*words: object, **more: object) -> None:
        raise Exception(why)

    monkeypatch.setattr(cluster.ray, "init", init)
    with pytest.raises(SearchError) as refused, cluster.cluster(Cluster(address=address), print):
        pass
    return str(refused.value)


def test_a_ray_that_does_not_come_up_is_one_line(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "it took too long"  # what Ray itself raises where a machine is too busy
    assert refused_by(monkeypatch, why, "local") == f"can't start Ray on this machine: {why}"
    assert refused_by(monkeypatch, why, listening) == f"can't reach Ray at cluster.address={listening}: {why}"


@pytest.mark.parametrize(
    "why", ["InvalidAuthToken: no", "rpc: Unauthenticated", "Failed to connect to Ray\ncluster"]
)
def test_a_token_that_the_cluster_does_not_take_is_told_by_the_variable_to_set(
    why: str, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused_by(monkeypatch, why, listening)
    assert said.startswith(f"can't reach Ray at cluster.address={listening}: ")
    assert said.endswith(
        "the cluster takes another token: give RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) the one that its head was "
        "started with, and set RAY_AUTH_MODE=token"
    )
    assert "\n" not in said


def test_an_address_where_nobody_listens_is_refused_before_ray_is_asked(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused_by(monkeypatch, "Ray was asked", deaf)
    port = deaf.rpartition(":")[2]
    assert said.startswith(f"nobody answers at cluster.address={deaf} (")
    assert said.endswith(
        f"; start one with `ray start --head --port={port}`, or leave the word out to use this machine"
    )
    with pytest.raises(SearchError, match=f"^nobody answers at cluster.address={deaf} "):
        read_words([f"cluster.address={deaf}"])  # an automatic budget asks for the GPUs there


def test_auto_without_a_cluster_and_with_one_that_has_ended_are_one_line_each(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(services, "canonicalize_bootstrap_address", nowhere)
    assert refused_by(monkeypatch, "Ray was asked", "auto") == (
        "cluster.address=auto: no Ray cluster runs on this machine; start one with `ray start --head --port=6379`, "
        "give HOST:PORT of its head, or leave the word out to use this machine alone"
    )
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda address: deaf)
    said = refused_by(monkeypatch, "Ray was asked", "auto")
    assert said.startswith(f"nobody answers at cluster.address=auto, which is {deaf}, (")


@pytest.mark.parametrize("address", ["127.0.0.1", "head:", "head:port", ":6379", "head:65536", "ray://h:1"])
def test_an_address_without_host_or_port_is_refused_by_its_words(address: str) -> None:
    complaint = (
        f"cluster.address={address}: give HOST:PORT of the cluster's head, as 10.0.0.1:6379, 'auto' for the cluster "
        f"that this machine belongs to, or 'local'"
    )
    with pytest.raises(ConfigError) as refused:
        Cluster(address=address)
    assert str(refused.value) == complaint
    with pytest.raises(ConfigError) as refused:
        read_words([f"cluster.address={address}"])  # which an automatic budget asks for its GPUs
    assert str(refused.value) == complaint


def test_a_ray_that_a_busy_machine_keeps_from_coming_up_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[str] = []
    told: list[str] = []

    def init(address: str, **more: object) -> None:
        starts.append(address)
        if len(starts) < 3:
            raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    with cluster.cluster(Cluster(), told.append) as room:
        assert room.at_once == 2
    assert len(starts) == 3
    assert told[-1] == "Ray did not come up in the 30 s that it gives itself; trying again (3 of 3)"

    starts.clear()
    monkeypatch.setattr(cluster, "STARTS", 2)
    with pytest.raises(SearchError, match=r"^can't start Ray on this machine: The current node timed out"):
        cluster.cluster(Cluster(), told.append).__enter__()
    assert len(starts) == 2


def test_a_trial_that_fits_nowhere_is_refused_before_it_waits_forever() -> None:
    small = {"CPU": 2.0}
    with pytest.raises(
        SearchError, match="a trial wants 8 CPUs and 0 GPUs, the largest node of the cluster has 2 and 0"
    ):
        room_of(Cluster(cpus_per_trial=8), [small] * 4)
    with pytest.raises(SearchError, match="a trial wants 1 CPUs and 1 GPUs"):
        room_of(Cluster(gpus_per_trial=1), [small])


def test_trials_share_what_the_cluster_has() -> None:
    large = {"CPU": 16.0, "GPU": 2.0}
    assert room_of(Cluster(), [large]).at_once == 2
    assert room_of(Cluster(gpus_per_trial=0.25), [large]).at_once == 8
    assert room_of(Cluster(), [large, large, {"CPU": 4.0}]).at_once == 4
    assert room_of(Cluster(cpus_per_trial=3), [{"CPU": 16.0}, {"CPU": 4.0}]).at_once == 6
    assert room_of(Cluster(trials_at_once=3), [{"CPU": 16.0}]).at_once == 3


def test_nodes_that_join_get_trials_and_nodes_that_are_lost_get_none() -> None:
    head, node, now = {"memory": 1.0}, {"CPU": 2.0}, [0.0]
    nodes = [head, node]
    places = Places(Cluster(), lambda: nodes, lambda: now[0])

    def count_later() -> int:
        now[0] += LOOK_SECONDS * 1.5
        return places.count()

    assert places.count() == 2
    nodes.append(node)
    assert places.count() == 2  # the cluster is not asked at every breath
    assert count_later() == 4
    nodes[:] = [head]
    assert count_later() == 0  # no refusal: a node may come back
    nodes.append(node)
    assert count_later() == 2


def test_large_trials_are_not_put_beside_each_other_and_each_can_start_somewhere() -> None:
    room = room_of(Cluster(), [{"CPU": 4.0, "memory": 16.0 * 2**30}, {"CPU": 4.0, "memory": 4.0 * 2**30}])
    assert room.bundle(3 * 2**30) == {"CPU": 1, "memory": 4 * 2**30}
    assert room.bundle(5 * 2**30) == room.bundle(7 * 2**30)  # so that one process can take both
    assert room.bundle(40 * 2**30) == {"CPU": 1, "memory": 16 * 2**30}
    assert "memory" not in room_of(Cluster(gpus_per_trial=1), [{"CPU": 4.0, "GPU": 1.0}]).bundle(2**30)


def test_trials_that_a_core_has_the_memory_for_ask_for_the_same_so_that_processes_are_used_again() -> None:
    room = room_of(Cluster(), [{"CPU": 2.0, "memory": 15e9}])
    asked = [room.bundle(int(needed)) for needed in (1, 0.3e9, 0.9e9, 2.2e9, 4.2e9)]
    assert asked == [{"CPU": 1, "memory": 4 * 2**30}] * 5
    assert room.bundle(int(7.5e9)) == {"CPU": 1, "memory": 8 * 2**30}
    assert room.bundle(int(9e9)) == {"CPU": 1, "memory": int(15e9)}


@pytest.mark.parametrize("share", [2.0**33, 2.0**33 + 1, 10e9, 17e9])
def test_a_node_with_a_little_less_memory_that_joins_later_takes_the_same_trials(share: float) -> None:
    asked = room_of(Cluster(), [{"CPU": 1.0, "memory": share}]).bundle(2**30)
    assert asked["memory"] <= 0.76 * share


def test_the_threads_of_trials_on_one_machine_add_up_to_its_cores() -> None:
    processors = [{"CPU": 16.0}, {"CPU": 8.0}]
    assert (room_of(Cluster(), processors).cpus, room_of(Cluster(), processors).at_once) == (1, 24)
    few = room_of(Cluster(trials_at_once=3), processors)
    assert (few.cpus, few.at_once) == (8, 3)
    assert room_of(Cluster(trials_at_once=1), processors).cpus == 16  # a trial runs on one machine
    assert room_of(Cluster(trials_at_once=100), processors).cpus == 1
    assert room_of(Cluster(cpus_per_trial=2, trials_at_once=3), processors).cpus == 2
    with_gpus = [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}]
    assert (room_of(Cluster(), with_gpus).cpus, room_of(Cluster(), with_gpus).at_once) == (4, 12)
    assert room_of(Cluster(gpus_per_trial=0.25), with_gpus).cpus == 1
    assert room_of(Cluster(gpus_per_trial=2), with_gpus).cpus == 8


def test_gpus_that_trials_share_have_places_for_more_of_them() -> None:
    room = room_of(Cluster(), [{"CPU": 32.0, "GPU": 2.0}])
    assert (room.at_once, room.most_at_once, room.gpus_in_all) == (2, 16, 2.0)
    assert room.bundle(2**30, 1.0) == {"CPU": 16, "GPU": 1.0}
    assert room.bundle(2**30, 0.25) == {"CPU": 4, "GPU": 0.25}
    assert room.threads(0.25) == 4
    assert room_of(Cluster(), [{"CPU": 4.0, "GPU": 2.0}]).most_at_once == 4  # each has a core
    assert room_of(Cluster(trials_at_once=3), [{"CPU": 32.0, "GPU": 2.0}]).most_at_once == 3
    fixed = room_of(Cluster(gpus_per_trial=0.5, cpus_per_trial=2), [{"CPU": 32.0, "GPU": 2.0}])
    assert (fixed.most_at_once, fixed.shared, fixed.bundle(2**30)) == (4, False, {"CPU": 2, "GPU": 0.5})
    assert not room_of(Cluster(), [{"CPU": 2.0}]).shared


def test_the_kinds_of_gpu_are_those_that_ray_names() -> None:
    nodes = [{"CPU": 1.0, "accelerator_type:H200": 1.0}, {"accelerator_type:A100": 1.0}, {"CPU": 2.0}]
    assert gpu_types(nodes) == ["A100", "H200"]


def test_tune_gives_its_trials_the_processes_that_a_local_ray_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray starts other processes for trials with variables of their own, and Tune gives them some."""
    from ray.air._internal import usage
    from ray.tune.execution import class_cache

    from search.running import placing

    monkeypatch.setattr(class_cache.ray, "remote", lambda **how: lambda trainable: how)

    def asked_for() -> dict[str, object]:
        return class_cache._ActorClassCache().get(placing.TrialProcess)

    before = asked_for()
    assert before["runtime_env"]["env_vars"]  # type: ignore[index]
    with placing._without_delays("10.0.0.1:6379"):
        assert asked_for() == before, "on other machines they inherit none"
    with placing._without_delays(LOCAL):
        assert asked_for() == {"runtime_env": {"env_vars": {}}}
        assert usage.tag_callbacks([placing.StudyCallback]) is False  # type: ignore[list-item]
    assert asked_for() == before
