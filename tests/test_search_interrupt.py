"""Ctrl-C, typed at a search that runs: once, and twice."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from commands import ONE, end, finish, nothing_left, start, states, until

from search import files
from search.recording.marks import SIGNATURE
from search.recording.store import client

pytestmark = pytest.mark.slow


@pytest.fixture
def words(fresh_home: Path, mlflow_db: Path, tmp_path: Path) -> list[str]:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    space = tmp_path / "one.py"
    space.write_text(ONE)
    return [f"space={space}", "dataset=demo", "budget=small", "budget.multiply_adds_per_epoch=3e10"]


def test_ctrl_c_saves_in_the_middle_of_an_epoch_and_the_same_command_goes_on(
    fresh_home: Path, words: list[str]
) -> None:
    process = start(fresh_home, *words, fault="waiting")
    try:
        until((fresh_home / "begun").exists, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of its processes
        said, _ = process.communicate(timeout=240)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert (
        "interrupted: the trials that run save where they are, for 60 seconds at most; Ctrl-C again" in said
    )
    assert "To go on: python -m search.run space=" in said
    assert "Traceback" not in said
    assert nothing_left(fresh_home)
    assert states(fresh_home) == ["RUNNING"]
    (folder,) = (fresh_home / "trials").iterdir()
    assert (folder / files.MOMENT).is_file()
    store = client(f"sqlite:///{fresh_home / 'mlflow.db'}")
    runs = store.search_runs([store.get_experiment_by_name("demo-one").experiment_id])
    assert {SIGNATURE in run.data.tags: run.info.status for run in runs} == {
        True: "SCHEDULED",
        False: "KILLED",
    }
    finish(fresh_home, *words)
    assert states(fresh_home) == ["COMPLETE"]
    assert [row["epoch"] for row in files.read_epochs(folder.name)] == [1, 2]
    assert not (folder / files.MOMENT).exists()


def test_ctrl_c_twice_ends_a_search_whose_trials_do_not_listen(fresh_home: Path, words: list[str]) -> None:
    process = start(fresh_home, *words, fault="stuck")
    try:
        until((fresh_home / "stuck").exists, process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C again ends at once" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert "To go on: python -m search.run space=" in said
    assert "Traceback" not in said
    assert nothing_left(fresh_home)
    assert states(fresh_home) == ["RUNNING"]


def test_ctrl_c_before_the_first_trial_runs_ends_at_once(fresh_home: Path, words: list[str]) -> None:
    process = start(fresh_home, *words)
    try:
        until((fresh_home / "studies.db").exists, process)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == 130, said
    assert "To go on: python -m search.run space=" in said
    assert nothing_left(fresh_home)
