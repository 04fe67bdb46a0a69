"""MLflow as a group has it: PostgreSQL behind it, artifacts through it, passwords on; and what its absence costs."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import PASSWORD, USER, Server
from postgres import postgres
from test_search_tracking import ONE, OTHER, a_search, a_trial, an_epoch

from search import files
from search.errors import SearchError
from search.outcome import Outcome
from search.recording import password as password_of_mlflow
from search.recording.marks import SIGNATURE
from search.recording.store import client
from search.recording.tracking import Tracker
from search.scoring import score_table

pytestmark = pytest.mark.slow

SPACE = '''"""Three: three small networks."""
from search.spaces import Point
NAMES = ["samplecnn_m3_n3_s729", "samplecnn_m3_n4_s243", "samplecnn_m3_n4_s729"]
GRID = [{"network": name} for name in NAMES]
def sample(trial):
    return Point(trial.suggest_categorical("network", NAMES))
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgres() as url:
        found = Server(url, tmp_path_factory.mktemp("mlflow-server"))
        try:
            found.wait()
            yield found
        finally:
            found.kill()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


def test_nobody_comes_in_without_the_password(server: Server) -> None:
    assert server.answer("/api/2.0/mlflow/experiments/search?max_results=1") == 401
    assert client(server.url).search_experiments()


def test_a_wrong_password_is_refused_before_a_search_starts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    password_of_mlflow.check(server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    with pytest.raises(
        SearchError, match=r"does not let this search in \(401 Unauthorized\): set MLFLOW_TRACK"
    ):
        password_of_mlflow.check(server.url)


@pytest.mark.usefixtures("fresh_home")
def test_what_ends_while_the_server_is_down_is_told_when_it_is_back(server: Server) -> None:
    first, second = a_trial(0, ONE, 4.0), a_trial(1, OTHER, 0.3)
    tracker = Tracker(server.url, a_search())
    tracker.started(first)
    deadline = time.monotonic() + 120
    while tracker.run_id(first.signature) is None and time.monotonic() < deadline:
        time.sleep(0.1)  # a poll: the first run is open before the lights go out
    assert tracker.run_id(first.signature)
    server.kill()
    tracker.started(second)
    for trial in (first, second):
        began = time.monotonic()
        tracker.epoch(trial, an_epoch(2))
        tracker.ended(trial, Outcome.DONE, "")
        assert time.monotonic() - began < 1, "the search does not wait for the server"
    while tracker.trouble is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tracker.trouble is not None
    assert tracker.trouble.startswith(f"MLflow at {server.url}: ")
    server.start()
    server.wait()
    assert tracker.close(complete=True, patience_seconds=120) == 0, tracker.trouble
    _check_all_is_there(server, "demo-x", trials=2, epochs=2, dataset="mtat")


def test_a_search_loses_nothing_while_its_server_is_down_in_mid_search(
    server: Server, fresh_home: Path, tmp_path: Path
) -> None:
    space = tmp_path / "three.py"
    space.write_text(SPACE)
    words = (f"space={space}", "dataset=demo", "budget=small", f"tracking={server.url}")
    sizes = ("budget.epochs_per_stage=3", "budget.multiply_adds_per_epoch=5e8")
    search = subprocess.Popen(
        [sys.executable, "-m", "search.run", *words, *sizes],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(500, search.kill)
    watchdog.start()
    said, outages = [], 0
    try:
        assert search.stdout is not None
        for line in search.stdout:
            said.append(line)
            if " 1/3 " in line:
                server.kill()
                outages += 1
            if " 2/3 " in line:  # a whole training has ended meanwhile
                assert server.answer("/health") == 0
                server.start()
        assert search.wait(timeout=60) == 0, "".join(said)
    finally:
        watchdog.cancel()
        if search.poll() is None:
            search.kill()
        search.communicate()  # closes what is open
        if outages:
            server.wait()
    assert outages == 1, "".join(said)
    assert PASSWORD not in "".join(said)
    _check_all_is_there(server, "demo-three", trials=3, epochs=6, dataset="demo")


def _check_all_is_there(server: Server, name: str, *, trials: int, epochs: int, dataset: str) -> None:
    mlflow = client(server.url)
    experiment = mlflow.get_experiment_by_name(name)
    runs = [run for run in mlflow.search_runs([experiment.experiment_id]) if SIGNATURE in run.data.tags]
    assert {run.info.status for run in runs} == {"FINISHED"}
    trained = {folder.name for folder in files.trial_folder("x").parent.iterdir()}
    assert sorted(run.data.tags[SIGNATURE] for run in runs) == sorted(trained)
    assert len(trained) == trials
    for run in runs:
        signature = run.data.tags[SIGNATURE]
        for metric in ("valid_roc_auc", "train_loss", "system/process_memory_megabytes"):
            history = mlflow.get_metric_history(run.info.run_id, metric)
            assert [each.step for each in history] == list(range(1, epochs + 1))
        # What came through the server's proxy is what the trial left.
        copy = Path(mlflow.download_artifacts(run.info.run_id, files.SCORES))
        assert copy.read_bytes() == (files.trial_folder(signature) / files.SCORES).read_bytes()
        assert score_table.read(copy).protocol["dataset"] == dataset
