"""MLflow's registry: a run's checkpoint becomes a version of a model, and its champion where the gate lets it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import files
from search.errors import SearchError
from search.recording import gate
from search.recording.gate import CHALLENGER, CHAMPION, Candidate, Decision
from search.recording.store import client, in_a_line
from search.scoring import score_table
from search.scoring.protocol import protocol_id
from search.scoring.score_table import ClipScores
from search.trials import restored

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "wavezoo."


@dataclass(frozen=True)
class Published:
    """model: name in the registry. alias: what this version is called now. why: in words. git: what trained it."""

    model: str
    version: str
    alias: str
    why: str
    git: str

    @property
    def champion(self) -> bool:
        return self.alias == CHAMPION

    @property
    def uri(self) -> str:
        return f"models:/{self.model}@{self.alias}"


def publish(uri: str, model: str, run_id: str, alias: str = CHAMPION, reason: str | None = None) -> Published:
    """Register the checkpoint of a run, once, and let the gate say what it is called.

    alias:  "champion" asks the gate; any other is given without a question to it, and nothing else.
    reason: why it is to be the champion whatever the gate says; it is recorded.
    raises: SearchError or ZooError if the run has no model that may be registered; MLflow's errors as they come.
    """
    mlflow = client(uri)
    if alias == CHAMPION and (already := _already(_champion(mlflow, model), run_id)):
        return already
    with _stored(mlflow, run_id) as folder:
        found = gate.candidate(folder)
        unchecked = restored.check(found.checkpoint, found.card.lineage, found.scores.splits["test"])
    # Another search may publish while weights are scored, or scores compared: the champion that is replaced must be
    # the one that the gate has seen. MLflow sets an alias without a condition, so a moment between the last look and
    # that remains.
    while True:
        holder = _champion(mlflow, model)
        if alias == CHAMPION and (already := _already(holder, run_id)):
            return already
        before = _scores(mlflow, holder) if holder is not None and not unchecked else None
        decision = gate.decide(found.scores, unchecked, _named(holder), before)
        called, why = _called(decision, alias, reason)
        tags = _tags(found, decision, unchecked, reason, why)
        version = _version(mlflow, model, run_id, found, tags)
        if _named(_champion(mlflow, model)) == _named(holder):
            break
    mlflow.set_registered_model_alias(model, called, version.version)
    if called == CHAMPION and CHALLENGER in version.aliases:
        mlflow.delete_registered_model_alias(model, CHALLENGER)
    return _published(version, called, why, gate.git_state(found.card.lineage))


def _called(decision: Decision, alias: str, reason: str | None) -> tuple[str, str]:
    """The alias, and why."""
    if alias != CHAMPION:
        return alias, "as asked for"
    if reason is not None and decision.alias != CHAMPION:
        return CHAMPION, f"forced: {reason}"
    return decision.alias, decision.why


def _champion(mlflow: "MlflowClient", model: str) -> "ModelVersion | None":
    """The version that is the champion; None where there is none."""
    found = mlflow.search_registered_models(f"name = '{model}'")
    number = found[0].aliases.get(CHAMPION) if found else None
    return mlflow.get_model_version(model, number) if number else None


def _already(holder: "ModelVersion | None", run_id: str) -> Published | None:
    """What there is to say of a run that is the champion; None of any other."""
    if holder is None or holder.run_id != run_id:
        return None
    return _published(holder, CHAMPION, "the champion already")


def _named(version: "ModelVersion | None") -> str | None:
    return None if version is None else f"version {version.version}"


@contextmanager
def _stored(mlflow: "MlflowClient", run_id: str) -> Iterator[Path]:
    """A copy of what a run stored of its training, as it lies in the trial's folder."""
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        for name in (files.CHECKPOINT, files.SCORES):
            _fetch(mlflow, run_id, name, folder)
        yield Path(folder)


def _fetch(mlflow: "MlflowClient", run_id: str, name: str, folder: str) -> Path:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a few small files need none
    from mlflow.exceptions import MlflowException

    try:
        return Path(mlflow.download_artifacts(run_id, name, folder))
    except (MlflowException, OSError) as error:
        raise SearchError(
            f"run {run_id} has no {name}: only a training that ended well has one, once its search has told MLflow; "
            f"the search's command again does that ({in_a_line(error)})"
        ) from error


def _scores(mlflow: "MlflowClient", version: "ModelVersion") -> ClipScores | None:
    """The scores of a version's clips; None where they are not to be had."""
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        try:
            return score_table.read(_fetch(mlflow, str(version.run_id), files.SCORES, folder))
        except SearchError:
            return None


def _tags(
    found: Candidate, decision: Decision, unchecked: str | None, reason: str | None, why: str
) -> dict[str, str]:
    """What a version says of itself in the registry."""
    card, test = found.card, found.card.scores.get("test", {})
    told: dict[str, Any] = {
        "signature": card.lineage.get("signature", ""),
        "network": card.network,
        "protocol": protocol_id(found.scores.protocol),
        **{f"protocol.{name}": found.scores.protocol[name] for name in gate.RECORDED},
        "test_roc_auc": test.get("roc_auc"),
        "git": gate.git_state(card.lineage),
        "verified": f"no: {unchecked}" if unchecked else "its weights gave the stored scores bit for bit",
        "gate": f"{decision.alias}: {decision.why}",
        "why": why,
    }
    if why != decision.why and reason is not None:
        told["forced"] = reason
    return {f"{PREFIX}{name}": str(value)[:500] for name, value in told.items()}


def _version(
    mlflow: "MlflowClient", model: str, run_id: str, found: Candidate, tags: dict[str, str]
) -> "ModelVersion":
    """The version of a run, made where there is none, and its model likewise, with these tags."""
    from zoo.served import MODEL_FILE, model_file

    for version in mlflow.search_model_versions(f"name = '{model}'"):
        if version.run_id == run_id:
            for name, value in tags.items():
                mlflow.set_model_version_tag(model, version.version, name, value)
            return mlflow.get_model_version(model, version.version)
    if not mlflow.search_registered_models(f"name = '{model}'"):
        mlflow.create_registered_model(model)
    mlflow.log_text(run_id, model_file(), f"{files.CHECKPOINT}/{MODEL_FILE}")
    source = f"{mlflow.get_run(run_id).info.artifact_uri}/{files.CHECKPOINT}"
    return mlflow.create_model_version(model, source, run_id, tags=tags)


def _published(version: "ModelVersion", alias: str, why: str, git: str = "") -> Published:
    return Published(
        str(version.name), str(version.version), alias, why, git or str(version.tags.get(f"{PREFIX}git", ""))
    )
