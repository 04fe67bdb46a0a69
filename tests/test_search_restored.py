"""Stored weights score the test clips again, bit for bit, or it is told why they could not."""

import json
from pathlib import Path

import pytest
import torch
from published_runs import NETWORK, a_folder, a_run, scores
from safetensors.torch import load_file, save_file

import datasets
import zoo
from search import files
from search.errors import SearchError
from search.publish import main
from search.scoring import score_table
from search.settings import Training, TrialSettings
from search.trials import restored
from search.trials.trial import Trial


@pytest.fixture
def trained(fresh_home: Path) -> Path:
    """The folder of a trial that was really trained, on demo."""
    card = datasets.card("demo")
    training = Training(learning_rates=(0.05,), epochs_per_stage=1, batch_size=8, multiply_adds_per_epoch=1e8)
    network = "samplecnn_m3_n3_s729"
    about = (card.fingerprint, card.default_convention, card.tag_hash)
    settings = TrialSettings(network, zoo.entry(network).options, training, 3, "demo", *about)
    with Trial(settings, "cpu", {"search": "demo-x-1"}) as trial:
        trial.advance()
    return files.trial_folder(settings.signature())


def test_stored_weights_give_the_stored_scores_bit_for_bit_or_are_refused(
    trained: Path, mlflow_uri: str, capsys
) -> None:
    stored = score_table.read(trained / files.SCORES).splits["test"]
    checkpoint = trained / files.CHECKPOINT
    lineage = zoo.read(checkpoint)[1].lineage
    assert lineage["evaluated"]["threads"] == torch.get_num_threads()
    assert restored.check(checkpoint, lineage, stored) is None

    weights = load_file(checkpoint / "weights.safetensors")
    weights["head.bias"][0] += 1e-6
    save_file(weights, checkpoint / "weights.safetensors")
    run = a_run(mlflow_uri, trained)
    assert main([run, f"tracking={mlflow_uri}", "force=true", "reason=because"]) == 1
    said = capsys.readouterr().err
    assert "the stored weights give other scores than those that were stored with them, by up to " in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluated": None}, "its card does not tell on what it was scored"),
        ({"evaluated": {"device": "NVIDIA H200"}}, "it was scored on NVIDIA H200 with torch"),
        (
            {"evaluated": {**restored.how_evaluated("cpu"), "way": "clip by clip"}},
            "it was scored by another version of this program, which rounds in another way",
        ),
        (
            {"evaluated": {**restored.how_evaluated("cpu"), "threads": -1}},
            "and -1 threads, which can't be had here",
        ),
        ({"settings": {"network": "x"}}, "its weights could not be scored again: "),
        ({"settings": "fingerprint"}, "demo has fingerprint "),
        ({"settings": "dataset"}, "has not been built in "),
    ],
)
def test_where_scores_cannot_be_taken_again_the_reason_is_told(tmp_path, fresh_home, changes, words) -> None:
    how = {"evaluated": restored.how_evaluated("cpu")}
    card = datasets.card("demo")
    settings = {
        "network": NETWORK,
        "options": {},
        "training": json.loads(json.dumps(Training().__dict__)),
        "seed": 0,
        "dataset": "demo",
        "fingerprint": card.fingerprint,
        "convention": card.default_convention,
        "tag_hash": card.tag_hash,
    }
    if isinstance(wrong := changes.get("settings"), str):
        settings[wrong] = {"fingerprint": "0" * 16, "dataset": "mtat"}[wrong]
        changes = {}
    folder = a_folder(tmp_path / "trial", scores(0.5), **{**how, "settings": settings, **changes})
    lineage = zoo.read(folder / files.CHECKPOINT)[1].lineage
    try:
        told = restored.check(folder / files.CHECKPOINT, lineage, scores(0.5).splits["test"])
    except SearchError as error:
        told = str(error)
    assert words in str(told)
    assert "\n" not in str(told)
