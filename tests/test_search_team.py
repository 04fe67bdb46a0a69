"""Several processes train as one does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ports import free_port
from ray_head import ray_head
from team_training import BATCH, loaded, train

from search.settings import TrialSettings
from search.trials.team import ALONE, Team, share_layers
from search.trials.trial import Trial
from zoo.fast.together import FEWEST_FRAMES, trained_together
from zoo.layers.tower import ConvBlock

PROGRAM = Path(__file__).with_name("team_training.py")


def trained_by(ranks: int, network: str, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What each of so many processes has at the end."""
    address = f"127.0.0.1:{free_port()}"
    outs = [folder / f"{rank}.safetensors" for rank in range(ranks)]
    words = [[network, address, str(rank), str(ranks), str(out)] for rank, out in enumerate(outs)]
    processes = [
        subprocess.Popen([sys.executable, str(PROGRAM), *each], stderr=subprocess.PIPE, text=True)
        for each in words
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()  # one that waits for another in vain
    assert [process.returncode for process in processes] == [0] * ranks, said
    return [loaded(out) for out in outs]


@pytest.mark.parametrize("network", ["samplecnn_m3_n3_s81", "melcnn_m3_n3_s729_w729"])
def test_two_processes_take_the_steps_of_one(network: str, tmp_path: Path) -> None:
    alone = train(network, ALONE)
    team = trained_by(2, network, tmp_path)
    for name, values in alone.items():
        assert torch.equal(team[1][name], team[0][name]), name
        torch.testing.assert_close(
            team[0][name], values, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_rows_of_a_batch_are_each_somebodys(ranks: int) -> None:
    shared = [Team(rank, ranks, BATCH).rows(1) for rank in range(ranks)]
    assert [row for part in shared for row in range(BATCH)[part]] == list(range(BATCH))
    assert [Team(rank, ranks, BATCH).rows(3).start for rank in range(ranks)] == [
        3 * part.start for part in shared
    ]
    weights = [Team(r, ranks, BATCH).mean_weight(part.stop - part.start) for r, part in enumerate(shared)]
    assert sum(weights) == pytest.approx(ranks)


def test_a_block_whose_statistics_are_shared_is_not_trained_as_one_step() -> None:
    block = ConvBlock(1, 4, 3, pad=(1, 1), pool=3)
    frames = torch.randn(2, 1, 3 * FEWEST_FRAMES)
    assert trained_together(block, frames) is not None
    share_layers(block, Team(0, 2, batch=2))
    assert trained_together(block, frames) is None


def test_statistics_of_half_precision_are_counted_in_full() -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(3)
    shared = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    share_layers(shared, Team(batch=1001))
    values = torch.randn(1001, 3) + 5  # more than bfloat16 can count
    wanted = norm(values.bfloat16().float())
    with torch.autocast("cpu", torch.bfloat16):
        found = shared(values.bfloat16())
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert torch.allclose(shared[0].running_var, norm.running_var, rtol=1e-5)


@pytest.mark.slow
def test_a_trial_on_two_gpus_scores_what_it_scores_on_one(
    fresh_home: Path, mlflow_db: Path, tmp_path: Path
) -> None:
    """Ray is told of two GPUs, so the trial gets two processes; there being none, they meet by gloo."""
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
    with ray_head(gpus=2) as (address, environment):
        answer = subprocess.run(
            [
                sys.executable,
                "-m",
                "search.run",
                *words,
                f"cluster.address={address}",
                "cluster.gpus_per_trial=2",
            ],
            env={**environment, "MLFLOW_TRACKING_URI": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (folder,) = (fresh_home / "trials").glob("*/")
    by_two = json.loads((folder / "result.json").read_text())
    settings = TrialSettings.from_json(json.loads((folder / "settings.json").read_text()))
    shutil.move(folder, tmp_path / "by_two")
    with Trial(settings, "cpu", {}) as trial:
        while True:
            row = trial.advance()
            if row["last"]:
                break
    by_one = row["result"]
    assert by_one["epochs"] == by_two["epochs"]
    for split in ("valid", "test"):
        assert by_two[split]["loss"] == pytest.approx(by_one[split]["loss"], rel=1e-4)
        assert by_two[split]["roc_auc"] == pytest.approx(by_one[split]["roc_auc"], abs=5e-3)
