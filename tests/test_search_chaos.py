"""A search whose driver, nodes and workers are killed at random; more of it: `python -m tests.chaos kills=20`."""

import shutil
from pathlib import Path

import pytest
from chaos.checks import findings
from chaos.killing import Chaos
from chaos.nodes import ray_nodes


@pytest.mark.slow
def test_whatever_is_killed_everything_is_trained_once_and_told_once(
    fresh_home: Path, mlflow_db: Path
) -> None:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    with ray_nodes(2) as nodes:
        chaos = Chaos(fresh_home, nodes, kills=3, trials=12, seed=0, say=print)
        assert chaos.run() == 0, chaos.said()
    assert findings(fresh_home, chaos.rates, chaos.seen) == {}
    assert set(chaos.killed) == {"driver", "node", "worker"}
