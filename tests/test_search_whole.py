"""A whole search, as a person types it: trained, killed, gone on with, tracked, published, tagged with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
import soundfile
import torch
from commands import finish, start, workers
from mlflow import MlflowClient
from optuna.trial import TrialState
from safetensors.torch import load_file

from search.recording.marks import SIGNATURE, STUDY
from search.recording.store import client

pytestmark = pytest.mark.slow

SMALL = (
    "space=smoke",
    "dataset=demo",
    "budget=small",
    "budget.epochs_per_stage=3",
    "budget.multiply_adds_per_epoch=5e8",
)


def studies(home: Path) -> list[optuna.Study]:
    url = f"sqlite:///{home / 'studies.db'}"
    return [optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)]


def store(home: Path) -> MlflowClient:
    return client(f"sqlite:///{home / 'mlflow.db'}")


def new_home(home: Path, demo_home: Path, mlflow_db: Path) -> Path:
    home.mkdir(exist_ok=True)
    (home / "datasets").symlink_to(demo_home / "datasets")
    shutil.copy(mlflow_db, home / "mlflow.db")
    return home


@pytest.fixture
def home(demo_home: Path, mlflow_db: Path, tmp_path: Path) -> Path:
    return new_home(tmp_path / "home", demo_home, mlflow_db)


@pytest.fixture(scope="module")
def searched(demo_home: Path, mlflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which the smoke search has been killed once, without mercy, and then run to its end."""
    home = new_home(tmp_path_factory.mktemp("searched"), demo_home, mlflow_db)
    process = start(home, *SMALL)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "1/4" in line:  # one trial has ended, others are in the middle
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait(timeout=60)
        process.stdout.close()
    finally:
        watchdog.cancel()
    assert process.returncode == -signal.SIGKILL
    (home / "before.json").write_text(json.dumps(snapshot(home)))
    return home, finish(home, *SMALL)


def snapshot(home: Path) -> dict[str, dict]:
    """Signature -> epochs on disk and whether the trial had ended."""
    found = {}
    for folder in (home / "trials").iterdir():
        epochs = folder / "epochs.json"
        result = folder / "result.json"
        found[folder.name] = {
            "epochs": json.loads(epochs.read_text()) if epochs.exists() else [],
            "ended_ns": result.stat().st_mtime_ns if result.exists() else None,
        }
    return found


def test_a_killed_driver_loses_no_finished_trial(searched: tuple[Path, str]) -> None:
    home, _ = searched
    before, after = json.loads((home / "before.json").read_text()), snapshot(home)
    ended = [signature for signature, trial in before.items() if trial["ended_ns"]]
    assert ended
    for signature in ended:
        assert after[signature] == before[signature], "a finished trial was trained again"


def test_running_trials_go_on_from_their_last_epoch(searched: tuple[Path, str]) -> None:
    home, _ = searched
    before, after = json.loads((home / "before.json").read_text()), snapshot(home)
    for signature, trial in before.items():
        assert after[signature]["epochs"][: len(trial["epochs"])] == trial["epochs"]
    for trial in after.values():
        assert [row["epoch"] for row in trial["epochs"]] == [1, 2, 3, 4, 5, 6]


def test_the_ledger_ends_with_every_setting_complete_once(searched: tuple[Path, str]) -> None:
    home, _ = searched
    (study,) = studies(home)
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert len({trial.user_attrs["signature"] for trial in trials}) == 4
    for trial in trials:
        assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]


def test_the_leaderboard_tells_the_protocol_the_intervals_and_the_paper(searched: tuple[Path, str]) -> None:
    _, said = searched
    assert "96 test clips at 22050 Hz, all fixed segments" in said
    assert "95% interval" in said
    assert "0.9000" in said  # the paper's AUC of melcnn_m3_n4_s729_w729
    for word in (
        "mlflow server --host 127.0.0.1",
        "python -m search.compare ",
        "python -m dashboards",
        "python -m zoo tag song.mp3 model=",
    ):
        assert word in said


def test_mlflow_has_one_run_per_search_and_one_per_setting(searched: tuple[Path, str]) -> None:
    home, _ = searched
    mlflow = store(home)
    (experiment,) = [e for e in mlflow.search_experiments() if e.name == "demo-smoke"]
    runs = list(mlflow.search_runs([experiment.experiment_id]))
    parents = [run for run in runs if STUDY in run.data.tags]
    children = [run for run in runs if SIGNATURE in run.data.tags]
    assert len(parents) == 1
    assert Counter(run.data.tags[SIGNATURE] for run in children).most_common(1)[0][1] == 1
    assert len(children) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    for run in children:
        history = mlflow.get_metric_history(run.info.run_id, "valid_roc_auc")
        assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6]
        assert run.data.params["training.batch_size"] == "23"
        assert {"test_roc_auc", "test_roc_auc_low", "test_pr_auc"} <= set(run.data.metrics)
        assert run.data.tags["protocol.clips"] == "96"
        artifacts = {artifact.path for artifact in mlflow.list_artifacts(run.info.run_id)}
        assert {"checkpoint", "config.json", "environment.json", "tags.json", "scores.parquet"} <= artifacts


def test_the_winner_is_the_champion_and_tags_a_song_without_ray(
    searched: tuple[Path, str], tmp_path: Path
) -> None:
    home, _ = searched
    song = tmp_path / "song.wav"
    time = np.arange(16_000 * 5) / 16_000
    soundfile.write(song, 0.3 * np.sin(2 * np.pi * 440 * time), 16_000)
    code = (
        "import sys, json, zoo\n"
        "tagger = zoo.load('models:/demo-smoke@champion')\n"
        f"print(json.dumps(tagger({str(song)!r})))\n"
        "sys.exit('loaded ray' if 'ray' in sys.modules else 0)"
    )
    environment = {**os.environ, "WAVEZOO_HOME": str(home), "MLFLOW_TRACKING_URI": ""}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    scores = json.loads(answer.stdout.splitlines()[-1])
    assert len(scores) == 20
    assert all(0 < score < 1 for score in scores.values())
    words = [sys.executable, "-m", "zoo", "tag", str(song), "model=models:/demo-smoke@champion", "top=3"]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert max(scores, key=lambda tag: scores[tag]) in told.stdout


def test_the_same_command_again_trains_nothing_and_says_the_same(searched: tuple[Path, str]) -> None:
    home, said = searched
    before = snapshot(home)
    again = finish(home, *SMALL)
    assert snapshot(home) == before
    assert said.split("rank")[1].split("written to")[0] == again.split("rank")[1].split("written to")[0]
    assert "is version 1 of demo-smoke and is its champion" in again
    (study,) = studies(home)
    assert len(study.get_trials()) == 4


def weights(trial: Path) -> dict[str, torch.Tensor]:
    return load_file(trial / "checkpoint" / "weights.safetensors")


def test_a_reused_worker_trains_as_a_fresh_one(
    searched: tuple[Path, str], demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials in this one process, against the same in the search's own, one of them killed and resumed."""
    from search.running.process import TrialProcess

    done, _ = searched
    (study,) = studies(done)
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    (tmp_path / "datasets").symlink_to(demo_home / "datasets")
    # Without Tune around it, which would set it up and then reset it
    process = TrialProcess.__new__(TrialProcess)
    for trial, take in zip(study.get_trials()[:2], (process.setup, process.reset_config), strict=True):
        signature = trial.user_attrs["signature"]
        settings = json.loads(trial.user_attrs["settings"])
        common = {"home": str(tmp_path), "threads": 1, "lineage": {}, "signature": signature}
        take({**common, "settings": settings})
        while not (row := process.step())["done"]:
            pass
        wanted = json.loads((done / "trials" / signature / "result.json").read_text())
        assert row["result"]["test"] == wanted["test"]
        assert row["result"]["valid"] == wanted["valid"]
        here, there = (home / "trials" / signature for home in (tmp_path, done))
        assert weights(here).keys() == weights(there).keys()
        for name, tensor in weights(here).items():
            assert torch.equal(tensor, weights(there)[name]), name


def test_a_search_whose_trials_fail_names_them_and_ends_with_1(home: Path, tmp_path: Path) -> None:
    space = tmp_path / "wild.py"
    space.write_text(
        '"""Wild: a rate that no network survives."""\n'
        "from search.spaces import Point\n"
        "GRID = [{'rate': 1e30}, {'rate': 0.01}]\n"
        "def sample(trial):\n"
        "    rate = trial.suggest_categorical('rate', [1e30, 0.01])\n"
        "    return Point('samplecnn_m3_n3_s729', training={'first_learning_rate': rate})\n"
    )
    said = finish(home, f"space={space}", *SMALL[1:], code=1)
    assert "failed: samplecnn_m3_n3_s729: diverged: the loss is " in said
    assert "to try the failed ones again: python -m search.run" in said
    (study,) = studies(home)
    assert sorted(trial.state.name for trial in study.get_trials()) == ["COMPLETE", "FAIL"]
    runs = store(home).search_runs([store(home).get_experiment_by_name("demo-wild").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    (failed,) = [run for run in runs if run.info.status == "FAILED"]
    assert failed.data.tags["failure_kind"] == "diverged"
    finish(home, f"space={space}", *SMALL[1:], code=1)  # tried again, and failed again
    runs = store(home).search_runs([store(home).get_experiment_by_name("demo-wild").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]


def test_a_trial_whose_process_is_killed_goes_on_in_another(home: Path) -> None:
    process = start(home, *SMALL)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    said = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "1/4" in line:
                victims = workers(home)
                assert victims, "no worker was found to kill"
                for victim in victims:
                    os.kill(victim, signal.SIGKILL)
        assert process.wait(timeout=60) == 0, "".join(said)
        process.stdout.close()
    finally:
        watchdog.cancel()
    (study,) = studies(home)
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 4
    for trial in snapshot(home).values():
        assert [row["epoch"] for row in trial["epochs"]] == [1, 2, 3, 4, 5, 6]


ONE = '''"""One: a single small network."""
from search.spaces import Point
GRID = [{}]
def sample(trial):
    return Point("samplecnn_m3_n3_s729")
'''


def test_a_search_goes_on_and_ends_while_mlflow_is_away(home: Path, tmp_path: Path) -> None:
    space = tmp_path / "one.py"
    space.write_text(ONE)
    shorter = (word.replace("epochs_per_stage=3", "epochs_per_stage=1") for word in SMALL[1:])
    small = (f"space={space}", *shorter)
    # The end waits for MLflow until that has been asked once
    code = "import sys; from search import run; from search.recording import tracking\ntracking.MEETING_SECONDS = 0.0\n"
    code += "sys.exit(run.main(sys.argv[1:]))"
    words = (*small, "tracking=http://127.0.0.1:9")
    environment = {**os.environ, "WAVEZOO_HOME": str(home)}
    answer = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "1 runs are not in MLflow yet (MLflow at http://127.0.0.1:9: " in answer.stdout
    assert "the winner is not registered: its run is not in MLflow yet" in answer.stdout
    said = finish(home, *small)  # the server is "back": here, the default store
    assert "is version 1 of demo-one and is its champion" in said
    experiment = store(home).get_experiment_by_name("demo-one")
    finished = store(home).search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    assert len(finished) == 2
