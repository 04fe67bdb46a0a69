"""Whole searches whose trials go together in one process: pruned, interrupted, killed, gone on with."""

import os
import shutil
import signal
from pathlib import Path

import optuna
import pytest
from commands import end, finish, nothing_left, start, states, until, workers

from search import files
from search.recording.marks import SIGNATURE
from search.recording.store import client
from search.running.process import TrialProcess

pytestmark = pytest.mark.slow

# A space of one network, and a pruner that is sure of what it does not want.
WILD = '''"""Wild: one network, of whose rates one is too high for any."""
import optuna
from search.spaces import Point

class Against(optuna.pruners.ThresholdPruner):
    def prune(self, study, trial):
        return trial.number == 1  # of those rates the second, as all cost the same

optuna.pruners.ThresholdPruner = Against
RATES = [0.01, 0.02, 0.05, 1e30]
GRID = [{"rate": rate} for rate in RATES]
def sample(trial):
    rate = trial.suggest_categorical("rate", RATES)
    return Point("samplecnn_m3_n3_s729", training={"first_learning_rate": rate})
'''
PRUNED = ["pruner.name=ThresholdPruner", "pruner.arguments.upper=1"]


@pytest.fixture
def words(fresh_home: Path, mlflow_db: Path, tmp_path: Path) -> list[str]:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    space = tmp_path / "wild.py"
    space.write_text(WILD)
    return [f"space={space}", "dataset=demo", "budget=small", "cluster.together=4"]


def by_rate(home: Path) -> dict[float, tuple[str, list[int]]]:
    """How the ledger says that each trial stands, and the epochs in its folder."""
    url = f"sqlite:///{home / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials()
    return {
        trial.params["rate"]: (
            trial.state.name,
            [row["epoch"] for row in files.read_epochs(trial.user_attrs["signature"])],
        )
        for trial in trials
    }


def test_trials_of_a_search_go_together_and_each_ends_by_itself(fresh_home: Path, words: list[str]) -> None:
    small = ["budget.multiply_adds_per_epoch=5e8", "budget.epochs_per_stage=2"]
    said = finish(fresh_home, *words, *small, *PRUNED, code=1)
    assert "failed: samplecnn_m3_n3_s729: diverged: the loss is " in said
    assert by_rate(fresh_home) == {
        0.01: ("COMPLETE", [1, 2, 3, 4]),
        0.02: ("PRUNED", [1]),
        0.05: ("COMPLETE", [1, 2, 3, 4]),
        1e30: ("FAIL", []),
    }
    store = client(f"sqlite:///{fresh_home / 'mlflow.db'}")
    runs = store.search_runs([store.get_experiment_by_name("demo-wild").experiment_id])
    ends = [run.info.status for run in runs if SIGNATURE in run.data.tags]
    assert sorted(ends) == ["FAILED", "FINISHED", "FINISHED", "KILLED"]


def written(home: Path) -> set[tuple[Path, int]]:
    """The states of trials at the end of an epoch, and when they were written."""
    return {(path, path.stat().st_mtime_ns) for path in home.glob(f"trials/*/{files.STATE}")}


def test_ctrl_c_and_a_killed_worker_lose_nothing_of_trials_that_go_together(
    fresh_home: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*words, "budget.multiply_adds_per_epoch=5e9"]
    process = start(fresh_home, *typed)
    try:
        until(lambda: len(list(fresh_home.glob("trials/*/settings.json"))) == 4, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of its processes
        said, _ = process.communicate(timeout=240)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert nothing_left(fresh_home)
    assert states(fresh_home) == ["RUNNING"] * 4
    assert len(list(fresh_home.glob(f"trials/*/{files.MOMENT}"))) == 4

    before = written(fresh_home)  # an epoch may have ended before Ctrl-C was heard
    process = start(fresh_home, *typed)
    try:
        until(lambda: written(fresh_home) - before, process)
        (worker,) = workers(fresh_home)
        os.kill(worker, signal.SIGKILL)
        said, _ = process.communicate(timeout=400)
    finally:
        end(process)
    assert process.returncode == 1, said
    found = by_rate(fresh_home)
    assert found.pop(1e30) == ("FAIL", [])
    assert [*found.values()] == [("COMPLETE", [1, 2])] * 3

    settings, wanted = (
        files.read_json(min(fresh_home.glob("trials/*/result.json")).with_name(name))
        for name in (files.SETTINGS, files.RESULT)
    )
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "datasets").symlink_to(fresh_home / "datasets")
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "alone"))
    process_alone = TrialProcess.__new__(TrialProcess)  # without Tune around it
    common = {"home": str(tmp_path / "alone"), "threads": 1, "lineage": {}, "settings": settings}
    process_alone.setup({**common, "signature": wanted["signature"]})
    while not (row := process_alone.step())["done"]:
        pass
    assert row["result"]["test"] == wanted["test"]
    assert row["result"]["valid"] == wanted["valid"]
