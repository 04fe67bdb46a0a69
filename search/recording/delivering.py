"""What a trial's folder says, in MLflow's own words, and in as few requests as those allow."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import files
from search.outcome import Outcome
from search.recording.marks import RESULT
from search.recording.told import STATUS
from search.scoring import scores
from search.settings import digest
from search.trials import usage

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


def moments(began_ms: int, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """When each epoch ended, in milliseconds since 1970; first when the training began, so that epoch 1 is at 1.

    began_ms: when the trial's run did. rows: its epochs from the first one on. By the training's own clock, which rests
    while nobody trains: whoever delivers an epoch, and however often, says the same of it, and MLflow's stores take
    what they have already for what it is.
    """
    return [
        began_ms + round(1000 * passed) for passed in accumulate((r["seconds"] for r in rows), initial=0.0)
    ]


def delivered(mlflow: "MlflowClient", run_id: str) -> tuple[int, int]:
    """The last epoch whose scores a run has, and the last one of which it has what the worker used; 0 for none."""
    return _last_step(mlflow, run_id, EPOCH_METRICS[-1]), _last_step(mlflow, run_id, usage.CPU)


def _last_step(mlflow: "MlflowClient", run_id: str, key: str) -> int:
    return max((metric.step for metric in mlflow.get_metric_history(run_id, key)), default=0)


def deliver(
    mlflow: "MlflowClient",
    run_id: str,
    settings: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    used: Sequence[Mapping[str, Any]],
    when: Sequence[int],
) -> None:
    """What a run lacks: its parameters, its epochs' scores, and what the worker used in them.

    when: the `moments` of all its epochs.
    """
    from mlflow.entities import RunTag

    given = params(settings)
    tags = [RunTag("host", used[-1]["host"])] if used else []
    groups = [_metrics(row, EPOCH_METRICS, when[row["epoch"]]) for row in epochs]
    groups += [
        _metrics(row, [key for key in row if key.startswith(SYSTEM)], when[row["epoch"]]) for row in used
    ]
    first, *others = _requests(groups, MOST_IN_A_REQUEST - len(given) - len(tags))
    if first or given or tags:
        mlflow.log_batch(run_id, metrics=first, params=given, tags=tags)
    for metrics in others:
        mlflow.log_batch(run_id, metrics=metrics)


def _requests(groups: "Iterable[list[Metric]]", room: int) -> "Iterator[list[Metric]]":
    """Metrics of one request after the other. room: for how many there is in the first.

    A group is never parted: whoever finds one metric of an epoch in a run may conclude that the others are there, even
    if the driver was killed between two requests.
    """
    found: list[Metric] = []
    for group in groups:
        if len(found) + len(group) > room:
            yield found
            found, room = [], MOST_IN_A_REQUEST
        found += group
    yield found


def _metrics(row: Mapping[str, Any], keys: Iterable[str], at_ms: int) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(key, float(row[key]), at_ms, row["epoch"]) for key in keys]


def log_result(mlflow: "MlflowClient", run_id: str, result: dict[str, Any], at_ms: int) -> None:
    """The scores as metrics of that moment, the protocol as tags, the tags' own scores as a table."""
    from mlflow.entities import RunTag

    numbers = scores.numbers(result)
    tags = [RunTag(f"protocol.{key}", str(value)) for key, value in result["protocol"].items()]
    metrics = _metrics({**numbers, "epoch": result["epochs"]}, numbers, at_ms)
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
    at_ms: int,
) -> None:
    """The end of a trial: scores, tables and weights, then the status, so that FINISHED means all is there.

    folder: the trial's. at_ms: the last of its `moments`.
    """
    from mlflow.entities import RunTag

    told: dict[str, str] = {"wavezoo.outcome": outcome}
    if outcome is Outcome.FAILED:
        told |= {"wavezoo.failure": why[:500], "failure_kind": why.partition(":")[0]}
    if result:
        log_result(mlflow, run_id, result, at_ms)
        mlflow.log_artifacts(run_id, str(folder / files.CHECKPOINT), files.CHECKPOINT)
        mlflow.log_artifact(run_id, str(folder / files.SCORES))
        told[RESULT] = digest(result)
    mlflow.log_batch(run_id, tags=[RunTag(key, value) for key, value in told.items()])
    mlflow.set_terminated(run_id, STATUS[outcome])
