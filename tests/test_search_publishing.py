"""The registry: which version is the champion, and that publishing twice changes nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from search import files
from search.publishing import CHAMPION, publish
from search.tracking import client


@pytest.fixture
def uri(fresh_home: Path, mlflow_db: Path) -> str:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    return f"sqlite:///{fresh_home / 'mlflow.db'}"


def a_result(uri: str, signature: str, valid: float, clips: int = 96) -> dict[str, Any]:
    """A trial that has ended and whose run is in MLflow, with numbers made up: the rule is what is tested."""
    result = {
        "signature": signature,
        "network": "samplecnn_m3_n3_s729",
        "valid": {"roc_auc": valid},
        "test": {"roc_auc": 1 - valid},
        "protocol": {"dataset": "demo", "clips": clips, "segments_per_clip": 4},
    }
    files.write_json(files.trial_folder(signature) / files.RESULT, result)
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("x")
    number = experiment.experiment_id if experiment else mlflow.create_experiment("x")
    return {"signature": signature, "run_id": mlflow.create_run(number).info.run_id}


def champion(uri: str) -> str:
    return str(client(uri).get_model_version_by_alias("demo-x", CHAMPION).version)


def test_the_first_of_a_name_is_its_champion_and_publishing_twice_is_once(uri: str) -> None:
    first = a_result(uri, "a" * 16, 0.7)
    made = publish(uri, "demo-x", **first)
    assert (made.version, made.champion, made.why) == ("1", True, "the first of its name")
    assert made.uri == "models:/demo-x@champion"
    again = publish(uri, "demo-x", **first)
    assert (again.version, again.champion, again.why) == ("1", True, "the champion already")


def test_a_champion_makes_way_for_a_better_validation_score_only(uri: str) -> None:
    publish(uri, "demo-x", **a_result(uri, "a" * 16, 0.7))
    worse = publish(uri, "demo-x", **a_result(uri, "b" * 16, 0.6))  # its test score is the better one
    assert not worse.champion
    assert worse.why == "version 1 has validation AUC 0.7000, this one 0.6000"
    assert champion(uri) == "1"
    better = publish(uri, "demo-x", **a_result(uri, "c" * 16, 0.8))
    assert better.champion
    assert champion(uri) == "3"


def test_scores_of_two_protocols_are_not_compared(uri: str) -> None:
    publish(uri, "demo-x", **a_result(uri, "a" * 16, 0.9))
    other = publish(uri, "demo-x", **a_result(uri, "b" * 16, 0.5, clips=95))
    assert other.champion
    assert other.why == "version 1 was of another protocol: the two can't be compared"
