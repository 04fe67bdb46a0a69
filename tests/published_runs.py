"""What a search leaves to be published, with scores made up: a trial's folder, and its run in MLflow."""

from pathlib import Path

import numpy as np
import pytest

import datasets
import zoo
from search import files
from search.recording.marks import SIGNATURE
from search.recording.store import client
from search.scoring import score_table
from search.scoring.score_table import ClipScores, SplitScores
from search.trials import restored

NETWORK, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow")
CLIPS = 200
LABELS = np.random.default_rng(0).integers(0, 2, (CLIPS, 2), dtype=np.uint8)


def scores(skill: float, seed: int = 0, **protocol: object) -> ClipScores:
    """Made up: the more skill, the better the clips are ranked."""
    noise = np.random.default_rng(seed).uniform(0, 1, (CLIPS, 2))
    said = (skill * LABELS + noise) / (1 + skill)
    about = {
        "dataset": "demo",
        "fingerprint": "f" * 16,
        "convention": "fixed",
        "tag_hash": datasets.tag_hash(TAGS),
    }
    names = tuple(f"clip{number}" for number in range(CLIPS))
    split = SplitScores(names, names, LABELS, said, {})
    return ClipScores(TAGS, {**about, "clips": CLIPS, **protocol}, {"valid": split, "test": split}, {})


def a_folder(folder: Path, said: ClipScores, signature: str = "a" * 16, **lineage: object) -> Path:
    """What a trial leaves behind, with scores made up."""
    network = zoo.create(NETWORK, n_tags=2)
    about = {"signature": signature, "git_commit": "c0ffee" * 6, "git_dirty": True, **lineage}
    card = zoo.Card.of(
        network, TAGS, protocol=said.protocol, scores={"test": {"roc_auc": 0.7}}, lineage=about, licence="CC0"
    )
    zoo.save(network, folder / files.CHECKPOINT, card)
    score_table.write(folder / files.SCORES, said)
    files.write_json(folder / files.RESULT, {"signature": signature})
    return folder


def a_run(uri: str, folder: Path, *names: str) -> str:
    """The folder as a search records it in MLflow."""
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("demo-x")
    place = (
        experiment.experiment_id
        if experiment
        else mlflow.create_experiment("demo-x", (folder.parent / "m").as_uri())
    )
    signature = files.read_json(folder / files.RESULT)["signature"]
    run = mlflow.create_run(place, tags={SIGNATURE: signature}).info.run_id
    for name in names or (files.CHECKPOINT, files.SCORES):
        copy = mlflow.log_artifacts if (folder / name).is_dir() else mlflow.log_artifact
        copy(run, str(folder / name), *([name] if (folder / name).is_dir() else ()))
    mlflow.set_terminated(run, "FINISHED")
    return str(run)


@pytest.fixture
def same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are taken to give the stored scores: the rule is what is tested."""
    monkeypatch.setattr(restored, "check", lambda *about: None)
