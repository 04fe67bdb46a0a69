"""Whole searches that something stops in the middle, and that the same command goes on with."""

import shutil
from pathlib import Path

import pytest
from commands import ONE, end, finish, nothing_left, start, states, until

from search import files
from search.planning import throughput

pytestmark = pytest.mark.slow
SMALL = ("dataset=demo", "budget=small", "budget.multiply_adds_per_epoch=5e8")
TWO = ONE.replace("GRID = [{}]", "GRID = [{'rate': 0.01}, {'rate': 0.02}]").replace(
    'return Point("samplecnn_m3_n3_s729")',
    "rate = trial.suggest_categorical('rate', [0.01, 0.02])\n"
    "    return Point('samplecnn_m3_n3_s729', training={'first_learning_rate': rate})",
)


@pytest.fixture
def home(fresh_home: Path, mlflow_db: Path) -> Path:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    return fresh_home


def space(folder: Path, text: str) -> str:
    file = folder / "mine.py"
    file.write_text(text)
    return f"space={file}"


def test_data_that_go_away_stop_the_whole_search(home: Path, tmp_path: Path) -> None:
    words = (space(tmp_path, TWO), *SMALL, "cluster.trials_at_once=1", "budget.epochs_per_stage=3")
    process = start(home, *words)
    try:
        until(lambda: list(home.glob("trials/*/epochs.json")), process)  # the first trial is under way
        (home / "datasets").rename(home / "elsewhere")
        said, _ = process.communicate(timeout=200)
    finally:
        end(process)
    assert process.returncode == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("the search stops")]
    assert line.startswith("the search stops, data: demo has not been built in")
    assert line.endswith("then the same command goes on")
    assert "Traceback" not in said
    assert nothing_left(home)
    assert set(states(home)) == {"RUNNING"}
    (home / "elsewhere").rename(home / "datasets")
    finish(home, *words)
    assert states(home) == ["COMPLETE", "COMPLETE"]


def test_a_full_disk_stops_the_whole_search(home: Path, tmp_path: Path) -> None:
    """The notes of how fast trainings are go to /dev/full: the system itself says that there is no room."""
    words = (space(tmp_path, TWO), *SMALL, "cluster.trials_at_once=1")
    notes = home / throughput.file().name
    notes.symlink_to("/dev/full")
    said = finish(home, *words, code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("the search stops")]
    assert line.startswith("the search stops, storage full: there is no room left on the disk")
    assert "Traceback" not in said
    assert states(home) == ["RUNNING"]
    assert not list(home.glob("trials/**/*.part"))
    notes.unlink()
    finish(home, *words)
    assert states(home) == ["COMPLETE", "COMPLETE"]


def test_an_epoch_that_hangs_is_ended_and_its_trial_goes_on(home: Path, tmp_path: Path) -> None:
    words = (space(tmp_path, ONE), *SMALL, "cluster.epoch_minutes=0.5")
    finish(home, *words, fault="stuck once")
    assert states(home) == ["COMPLETE"]
    (folder,) = (home / "trials").iterdir()
    assert "_between_once" in (folder / "hang.txt").read_text()
    assert files.read_json(folder / files.RESULT)
    assert not (folder / "attempt").exists()
