"""The registry: the winner of a search becomes a version of `<dataset>-<space>`, and its champion."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search import files
from search.protocol import protocol_id
from search.tracking import client

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"


@dataclass(frozen=True)
class Published:
    """model: name in the registry. champion: whether it is the champion now. why: in words."""

    model: str
    version: str
    champion: bool
    why: str

    @property
    def uri(self) -> str:
        return f"models:/{self.model}@{CHAMPION}"


def publish(uri: str, model: str, signature: str, run_id: str) -> Published:
    """Register a trial's checkpoint, once, and let it be the champion unless the present one is better.

    Only validation scores of one protocol are compared; a champion of another protocol makes way, and the words
    say so. run_id: the trial's MLflow run, which holds the checkpoint.
    """
    mlflow = client(uri)
    result = files.read_result(signature)
    assert result is not None
    if not mlflow.search_registered_models(f"name = '{model}'"):
        mlflow.create_registered_model(model)
    version = _version(mlflow, model, signature, run_id, result)
    champion, why = _is_champion(mlflow, model, version, result)
    if champion:
        mlflow.set_registered_model_alias(model, CHAMPION, version)
    return Published(model, version, champion, why)


def _version(mlflow: "MlflowClient", model: str, signature: str, run_id: str, result: dict[str, Any]) -> str:
    """The version that holds this trial's weights, made where there is none."""
    for version in mlflow.search_model_versions(f"name = '{model}'"):
        if version.tags.get("signature") == signature:
            return str(version.version)
    tags = {
        "signature": signature,
        "network": result["network"],
        "protocol": protocol_id(result["protocol"]),
        "valid_roc_auc": repr(result["valid"]["roc_auc"]),
        "test_roc_auc": repr(result["test"]["roc_auc"]),
    }
    source = f"{mlflow.get_run(run_id).info.artifact_uri}/{files.CHECKPOINT}"
    return str(mlflow.create_model_version(model, source, run_id, tags=tags).version)


def _is_champion(
    mlflow: "MlflowClient", model: str, version: str, result: dict[str, Any]
) -> tuple[bool, str]:
    aliases = mlflow.get_registered_model(model).aliases
    if CHAMPION not in aliases:
        return True, "the first of its name"
    holder = mlflow.get_model_version(model, aliases[CHAMPION])
    if str(holder.version) == version:
        return True, "the champion already"
    if holder.tags.get("protocol") != protocol_id(result["protocol"]):
        return True, f"version {holder.version} was of another protocol: the two can't be compared"
    before, now = float(holder.tags["valid_roc_auc"]), result["valid"]["roc_auc"]
    words = f"version {holder.version} has validation AUC {before:.4f}, this one {now:.4f}"
    return now > before, words
