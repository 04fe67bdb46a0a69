"""A search on a Ray cluster that was there before it, as the README tells."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.placing import _room
from search.settings import Cluster, SearchError

RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)  # a poll, not a guess: the loop ends with the port or with the process
    raise AssertionError(f"Ray's head did not come up: {process.communicate()[0] if process.stdout else ''}")


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a head node of this test's own, with a token of its own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    port = free_port()
    words = ["start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    more = ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={short_folder()}"]
    process = subprocess.Popen(
        [str(RAY), *words, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()  # the blocked head takes its own processes with it, and no others
        process.communicate(timeout=60)


def short_folder() -> str:
    """Ray's sockets want a path shorter than pytest's."""
    folder = Path("/tmp") / f"wz{secrets.token_hex(4)}"
    folder.mkdir()
    return str(folder)


@pytest.mark.slow
def test_a_search_runs_on_a_cluster_that_is_there(
    head: str, fresh_home: Path, mlflow_db: Path, tmp_path: Path
) -> None:
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
    answer = subprocess.run(
        [sys.executable, "-m", "search.run", *words, f"cluster.address={head}"],
        env={**os.environ, "MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "is version 1 of demo-one and is its champion" in answer.stdout


def test_a_trial_that_fits_nowhere_is_refused_before_it_waits_forever() -> None:
    small = {"CPU": 2.0}
    with pytest.raises(
        SearchError, match="a trial wants 8 CPUs and 0 GPUs, the largest node of the cluster has 2 and 0"
    ):
        _room(Cluster(cpus_per_trial=8), [small] * 4)
    with pytest.raises(SearchError, match="a trial wants 1 CPUs and 1 GPUs"):
        _room(Cluster(gpus_per_trial=1), [small])


def test_trials_share_what_the_cluster_has() -> None:
    large = {"CPU": 16.0, "GPU": 2.0}
    assert _room(Cluster(), [large]).at_once == 2
    assert _room(Cluster(gpus_per_trial=0.25), [large]).at_once == 8
    assert _room(Cluster(), [large, large, {"CPU": 4.0}]).at_once == 4
    assert _room(Cluster(cpus_per_trial=3), [{"CPU": 16.0}, {"CPU": 4.0}]).at_once == 6
    assert _room(Cluster(trials_at_once=3), [{"CPU": 16.0}]).at_once == 3
