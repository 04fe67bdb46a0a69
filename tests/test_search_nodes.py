"""A search on a cluster of several nodes, which come and go."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import optuna
import pytest
from chaos.nodes import Nodes, holder, ray_nodes
from optuna.trial import TrialState
from ray._private.node import Node

pytestmark = pytest.mark.slow

Found = TypeVar("Found")
EPOCHS = 24
SPACE = '''"""Rates: one small network at several rates."""
from search.spaces import Point
GRID = [{"rate": 0.001 * n} for n in range(1, 7)]
def sample(trial):
    rate = trial.suggest_float("rate", 0.0001, 1.0)
    return Point("samplecnn_m3_n3_s729", training={"first_learning_rate": rate})
'''
WORDS = (
    "dataset=demo",
    "budget=small",
    "budget.learning_rates=[0.03]",
    f"budget.epochs_per_stage={EPOCHS}",
    "budget.patience=100",
    "budget.multiply_adds_per_epoch=1",
)


def until(found: Callable[[], Found], what: str, seconds: float = 180.0) -> Found:
    """Wait for something that a cluster does in its own time. Returns it, as it may be gone when asked for again."""
    deadline = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < deadline, f"in {seconds:g} s there was no {what}"
        time.sleep(0.05)  # a poll, not a guess: the loop ends with what it waits for, or names it
    return it


class Search:
    """The command, started and started again, and what lies in its home."""

    def __init__(self, home: Path, space: Path, nodes: Nodes) -> None:
        self.home, self.nodes = home, nodes
        self.words = [f"space={space}", *WORDS, f"cluster.address={nodes.address}"]
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "search.run", *self.words],
            env={**os.environ, "MLFLOW_TRACKING_URI": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def epochs(self, signature: str) -> list[dict]:
        file = self.home / "trials" / signature / "epochs.json"
        return json.loads(file.read_text()) if file.exists() else []

    def signatures(self) -> list[str]:
        return [folder.name for folder in (self.home / "trials").glob("*")]

    def ended(self) -> dict[str, int]:
        """When each trial that has ended did."""
        results = {name: self.home / "trials" / name / "result.json" for name in self.signatures()}
        return {name: file.stat().st_mtime_ns for name, file in results.items() if file.exists()}

    def places(self) -> dict[str, int]:
        """The trials that are being trained, each with the process that does it."""
        held = {name: holder(self.home / "trials" / name) for name in self.signatures()}
        return {name: pid for name, pid in held.items() if pid is not None}


@pytest.fixture
def search(fresh_home: Path, mlflow_db: Path, tmp_path: Path) -> Iterator[Search]:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    (tmp_path / "rates.py").write_text(SPACE)
    with ray_nodes(2) as nodes:
        search = Search(fresh_home, tmp_path / "rates.py", nodes)
        try:
            yield search
        finally:
            search.process.kill()
            print(search.process.communicate()[0])  # for whoever reads why a test failed


def in_mid_trial(search: Search) -> list[tuple[Node, str]]:
    """Nodes with the trial that is in its middle there: two epochs are done, and not yet nearly all of them."""
    at = search.nodes.trainers()
    held = [(at[pid], name) for name, pid in search.places().items() if pid in at]
    return [(node, name) for node, name in held if 2 <= len(search.epochs(name)) < EPOCHS - 8]


def test_a_search_outlives_its_nodes_and_its_driver(search: Search) -> None:
    nodes = search.nodes
    until(lambda: len(set(nodes.trainers().values())) == 2, "trial on each of two nodes")

    joined = nodes.add()
    until(lambda: joined in nodes.trainers().values(), "trial on the node that had joined")

    lost, signature = until(lambda: in_mid_trial(search), "trial in its middle")[0]
    before = search.epochs(signature)
    nodes.kill(lost)
    until(lambda: len(search.epochs(signature)) > len(before) + 1, "epoch of the lost trial elsewhere")
    assert search.epochs(signature)[: len(before)] == before, "it began anew"

    until(lambda: search.ended(), "trial that has ended")
    search.process.send_signal(signal.SIGKILL)
    search.process.communicate()
    ended = search.ended()

    said, _ = search.start().communicate(timeout=300)
    assert search.process.returncode == 0, said
    for name, when in ended.items():
        assert search.ended()[name] == when, "a finished trial was trained again"
    assert len(search.signatures()) == 6
    for name in search.signatures():
        assert [row["epoch"] for row in search.epochs(name)] == list(range(1, EPOCHS + 1))
    url = f"sqlite:///{search.home / 'studies.db'}"
    (study,) = (optuna.load_study(study_name=each, storage=url) for each in optuna.get_all_study_names(url))
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 6
    for trial in study.get_trials():
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
