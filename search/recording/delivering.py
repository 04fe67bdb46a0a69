"""What a trial's folder says, in MLflow's own words, and in as few requests as those allow."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import files
from search.outcome import Outcome
from search.recording.marks import RESULT
from search.recording.told import STATUS
from search.scoring import scores
from search.settings import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

MOST_IN_A_REQUEST = 1000  # metrics, parameters and tags together
EPOCH_METRICS = ("learning_rate", "train_loss", "valid_loss", "valid_roc_auc", "valid_pr_auc", "seconds")
SYSTEM = "system/"  # MLflow has a page for what starts so


def params(settings: Mapping[str, Any]) -> "list[Param]":
    """Settings as a run's parameters."""
    from mlflow.entities import Param

    return [Param(key, str(value)[:500]) for key, value in settings.items()]


def deliver(
    mlflow: "MlflowClient",
    run_id: str,
    settings: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    used: Sequence[Mapping[str, Any]],
) -> None:
    """What a run lacks: its parameters, its epochs' scores, and what the worker used in them."""
    from mlflow.entities import RunTag

    metrics = [*_metrics(epochs, EPOCH_METRICS), *_system_metrics(used)]
    given = params(settings)
    tags = [RunTag("host", used[-1]["host"])] if used else []
    first = MOST_IN_A_REQUEST - len(given) - len(tags)
    if metrics or given or tags:
        mlflow.log_batch(run_id, metrics=metrics[:first], params=given, tags=tags)
    for at in range(first, len(metrics), MOST_IN_A_REQUEST):
        mlflow.log_batch(run_id, metrics=metrics[at : at + MOST_IN_A_REQUEST])


def _metrics(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> "list[Metric]":
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(key, float(row[key]), now, row["epoch"]) for row in rows for key in keys]


def _system_metrics(rows: Sequence[Mapping[str, Any]]) -> "list[Metric]":
    return [
        metric for row in rows for metric in _metrics([row], [key for key in row if key.startswith(SYSTEM)])
    ]


def log_result(mlflow: "MlflowClient", run_id: str, result: dict[str, Any]) -> None:
    """The scores as metrics, the protocol as tags, the tags' own scores as a table."""
    from mlflow.entities import RunTag

    numbers = scores.numbers(result)
    tags = [RunTag(f"protocol.{key}", str(value)) for key, value in result["protocol"].items()]
    metrics = _metrics([{**numbers, "epoch": result["epochs"]}], list(numbers))
    columns = list(result["tags"][0])
    rows = [[tag[key] for key in columns] for tag in result["tags"]]
    # What MlflowClient.log_table writes, which would import pandas for it and add to a table that is there.
    mlflow.log_dict(run_id, {"columns": columns, "data": rows}, "tags.json")
    tags.append(RunTag("mlflow.loggedArtifacts", json.dumps([{"path": "tags.json", "type": "table"}])))
    mlflow.log_batch(run_id, metrics=metrics, tags=tags)


def settle(
    mlflow: "MlflowClient",
    run_id: str,
    folder: Path,
    outcome: Outcome,
    why: str,
    result: dict[str, Any] | None,
) -> None:
    """The end of a trial: scores, tables and weights, then the status, so that FINISHED means all is there.

    folder: the trial's.
    """
    from mlflow.entities import RunTag

    told: dict[str, str] = {"wavezoo.outcome": outcome}
    if outcome is Outcome.FAILED:
        told |= {"wavezoo.failure": why[:500], "failure_kind": why.partition(":")[0]}
    if result:
        log_result(mlflow, run_id, result)
        mlflow.log_artifacts(run_id, str(folder / files.CHECKPOINT), files.CHECKPOINT)
        mlflow.log_artifact(run_id, str(folder / files.SCORES))
        told[RESULT] = digest(result)
    mlflow.log_batch(run_id, tags=[RunTag(key, value) for key, value in told.items()])
    mlflow.set_terminated(run_id, STATUS[outcome])
