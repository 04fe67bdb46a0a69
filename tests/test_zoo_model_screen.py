"""`python -m zoo info` of a trained model: all that a number needs beside it, on one screen."""

import json
import shutil

import pytest

import zoo
from zoo.__main__ import main

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice")
SCORES = {
    "roc_auc": 0.91239,
    "pr_auc": 0.5,
    "roc_auc_low": 0.9,
    "roc_auc_high": 0.92,
    "roc_auc_low_by_artist": 0.88,
}
LINEAGE = {
    "search": "demo-table2-1f",
    "command": "python -m search.run space=table2",
    "git_commit": "c0ffee" * 6,
}


@pytest.fixture
def checkpoint(tmp_path):
    network = zoo.create(NAME, n_tags=3, first=16)
    card = zoo.Card.of(
        network,
        TAGS,
        protocol={"dataset": "demo", "fingerprint": "f" * 16, "clips": 96, "segments_per_clip": 4},
        scores={"valid": {"roc_auc": None}, "test": {**SCORES, "roc_auc_high_by_artist": 0.95}},
        lineage={**LINEAGE, "git_dirty": True, "evaluated": {"device": "a CPU", "threads": 1}},
        licence="CC0",
    )
    zoo.save(network, tmp_path / "checkpoint", card)
    return tmp_path / "checkpoint"


def told(capsys, word):
    assert main(["info", str(word)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24, "one screen"
    return {line[:13].strip(): line[14:] for line in lines}


def test_a_checkpoint_tells_what_it_is_and_what_its_scores_mean(checkpoint, capsys):
    lines = told(capsys, checkpoint)
    parameters = zoo.entry(NAME).with_options(first=16).cost(3).parameters
    assert lines == {
        "source": str(checkpoint),
        "network": f"{NAME} first=16, {parameters:,} parameters",
        "input": "segments of 243 samples at 22050 Hz",
        "tags": f"3 ({zoo.read(checkpoint)[1].tag_hash}): guitar, slow, female voice",
        "search": "demo-table2-1f",
        "command": "python -m search.run space=table2",
        "commit": f"{'c0ffee' * 6}; its tree was DIRTY: changes were not committed",
        "data": f"demo {'f' * 16}; licence CC0",
        "protocol": "clips 96, segments_per_clip 4",
        "test scores": "ROC-AUC 0.9124 (95% 0.9000 to 0.9200) (by artist 0.8800 to 0.9500), PR-AUC 0.5000",
        "valid scores": "ROC-AUC unknown, PR-AUC unknown",
        "scored on": "device a CPU, threads 1",
    }


def test_a_card_that_tells_little_or_steers_terminals_is_shown_all_the_same(checkpoint, capsys):
    record = json.loads((checkpoint / "card.json").read_text())
    record |= {
        "lineage": {"search": "\x1b[2J\n" + "x" * 9000},
        "protocol": {},
        "scores": {"test": 7},
        "licence": "",
    }
    (checkpoint / "card.json").write_text(json.dumps(record))
    lines = told(capsys, checkpoint)
    assert lines["search"].startswith("?[2J?xxx")
    assert len(lines["search"]) == 2000
    assert lines["commit"] == "unknown"
    assert lines["data"] == "unknown unknown; licence unknown"
    assert lines["protocol"] == "unknown, so that its scores mean nothing"
    assert "test scores" not in lines


def test_a_registered_model_tells_its_version_its_run_and_why_it_is_there(
    checkpoint, mlflow_db, tmp_path, monkeypatch, capsys
):
    from search.recording.store import client

    shutil.copy(mlflow_db, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow = client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    place = mlflow.create_experiment("demo-table2", (tmp_path / "artifacts").as_uri())
    run = mlflow.create_run(place, run_name=f"{NAME} seed 0").info.run_id
    mlflow.log_artifacts(run, str(checkpoint), "checkpoint")
    mlflow.set_terminated(run, "FINISHED")
    mlflow.create_registered_model("demo-table2")
    source = f"{mlflow.get_run(run).info.artifact_uri}/checkpoint"
    tags = {"wavezoo.why": "forced: I know", "wavezoo.forced": "I know", "wavezoo.verified": "no: no GPU"}
    mlflow.create_model_version("demo-table2", source, run, tags=tags)
    mlflow.set_registered_model_alias("demo-table2", "champion", "1")
    lines = told(capsys, "models:/demo-table2@champion")
    assert lines["source"] == f"models:/demo-table2@champion: version 1, from run {run}"
    assert lines["model"].startswith("demo-table2, version 1, champion, registered 20")
    assert (lines["why"], lines["forced"], lines["verified"]) == ("forced: I know", "I know", "no: no GPU")
    assert lines["run"] == f"{run} ({NAME} seed 0), finished"
    assert lines["commit"].endswith("DIRTY: changes were not committed")
    assert lines["test scores"].startswith("ROC-AUC 0.9124")
    assert told(capsys, f"runs:/{run}/checkpoint")["run"] == lines["run"]
    assert main(["info", "models:/demo-tabel2@champion"]) == 2
    assert (
        capsys.readouterr().err
        == "no model is registered as models:/demo-tabel2@champion; did you mean demo-table2?\n"
    )
