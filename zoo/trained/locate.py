"""Where a checkpoint lies: a folder, an MLflow run, or a version in MLflow's model registry.

The only file of the zoo that knows MLflow, and it imports it only when an address asks for it.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import without_password
from datasets.sqlite import address_of, is_missing
from zoo.errors import ZooError, did_you_mean
from zoo.trained.here import checkpoint_here

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["ARTIFACT", "Registered", "check", "facts", "fetched", "is_address", "registered", "tracking_uri"]

ARTIFACT = "checkpoint"  # the name of the folder among the artifacts of a run
# Of search.publish, in tags
NOTES = {"why": "why", "verified": "verified", "forced": "forced", "git": "trained by"}
FORMS = "a folder, runs:/<run>/checkpoint, models:/<name>@<alias>, models:/<name>/<version> or a trial's signature"


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, else the SQLite file that searches write in `datasets.home`."""
    from datasets.home import home

    return os.environ.get("MLFLOW_TRACKING_URI") or address_of(home() / "mlflow.db")


def is_address(word: str) -> bool:
    """Whether a word has the form of an address, such as models:/..., rather than of a name or a path."""
    return re.match(r"[a-z][a-z0-9+-]+:/", word) is not None


def facts(address: str) -> list[tuple[str, str]]:
    """What MLflow knows of a run or a registered version that `fetched` has found: (label, words) each."""
    from datetime import UTC, datetime

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    if address.startswith("runs:/"):
        return _run_facts(client, address.removeprefix("runs:/").partition("/")[0])
    version = _version(client, address)
    called = ", ".join([f"version {version.version}", *version.aliases])
    when = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    notes = [(label, version.tags.get(f"wavezoo.{tag}", "")) for tag, label in NOTES.items()]
    return [
        ("model", f"{version.name}, {called}, registered {when:%Y-%m-%d %H:%M} UTC"),
        *((label, words) for label, words in notes if words),
        *_run_facts(client, version.run_id),
    ]


def _run_facts(client: MlflowClient, run_id: str | None) -> list[tuple[str, str]]:
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(str(run_id)).info
    except MlflowException:
        return [("run", f"{run_id or 'unknown'}, which is not there any more")]
    return [("run", f"{run_id} ({info.run_name}), {info.status.lower()}")]


@dataclass(frozen=True)
class Registered:
    """A version of a registered model. aliases: champion or challenger, where it is one."""

    name: str
    version: int
    aliases: tuple[str, ...]

    @property
    def address(self) -> str:
        """What `fetched` takes; it stays the same version, whatever the aliases come to mean."""
        return f"models:/{self.name}/{self.version}"


def registered(most: int = 200) -> list[Registered]:
    """The versions in MLflow's registry, those changed last first; none where there is no store yet.

    raises: ZooError, in one line, if the registry can't be asked.
    """
    store = tracking_uri()
    if is_missing(store):
        return []
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "1")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(store)
        called = {model.name: model.aliases for model in client.search_registered_models(max_results=1000)}
        found = client.search_model_versions(max_results=most, order_by=["last_updated_timestamp DESC"])
    except (MlflowException, OSError) as error:
        raise ZooError(_line(f"the registry can't be asked: {error}")) from error
    return [
        Registered(
            each.name,
            int(each.version),
            tuple(
                sorted(
                    a for a, version in called.get(each.name, {}).items() if int(version) == int(each.version)
                )
            ),
        )
        for each in found
    ]


def check(uri: str | Path) -> None:
    """Refuse what can be known to be no checkpoint before torch and MLflow, which take seconds, are loaded.

    raises: ZooError as `fetched`.
    """
    address = str(uri)
    if not is_address(address):
        checkpoint_here(uri)
        return
    if not address.startswith(("runs:/", "models:/")):
        raise ZooError(f"{address!r} is none of {FORMS}")
    if address.startswith("models:/"):
        _parts(address)
    _check_store(tracking_uri(), address)


@contextmanager
def fetched(uri: str | Path) -> Iterator[tuple[Path, str]]:
    """Make a checkpoint available as a folder; what was copied is gone when the context ends.

    uri:    a folder of a checkpoint or a trial, a trial's signature, runs:/<run>/<path>, models:/<name>@<alias> or
            models:/<name>/<version>.
    yields: the folder, and one line saying where it comes from.
    raises: ZooError if the address has another form, or MLflow has no such thing.
    """
    check(uri)
    address = str(uri)
    if not is_address(address):
        folder = checkpoint_here(uri)
        yield folder, str(folder.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as copies:
        path, source = _download(address, copies)
        yield path, source


def _download(address: str, folder: str) -> tuple[Path, str]:
    store = tracking_uri()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # two small files need none
    from mlflow import MlflowClient, artifacts
    from mlflow.exceptions import MlflowException

    try:
        if address.startswith("runs:/"):
            source, words = address if address.count("/") > 1 else f"{address}/{ARTIFACT}", address
        else:
            source, words = _resolve(MlflowClient(store), address)
        path = artifacts.download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=store)
    except (MlflowException, OSError) as error:
        raise ZooError(_line(f"{address} cannot be had from {store}: {error}")) from error
    return Path(path), words


def _resolve(client: MlflowClient, address: str) -> tuple[str, str]:
    """Artifact address of a registered version, and one line saying which version of which run it is."""
    version = _version(client, address)
    words = f"{address}: version {version.version}, from run {version.run_id or 'unknown'}"
    return str(version.source), words


def _parts(address: str) -> tuple[str, str | None, str | None]:
    """Name, alias and number of models:/..., one of the last two being None."""
    found = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))?", address)
    if found is None:
        raise ZooError(f"{address!r} is none of {FORMS}")
    name, alias, number = found.groups()
    if not (alias or number):
        raise ZooError(f"{address} says no version; did you mean {address}@champion?")
    return name, alias, number


def _version(client: MlflowClient, address: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    name, alias, number = _parts(address)
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, str(number))
    except MlflowException as error:
        known = [model.name for model in client.search_registered_models(max_results=1000)]
        near = (
            did_you_mean(name, known)
            if name not in known
            else f"; {name} exists, but not with {alias or number}"
        )
        raise ZooError(f"no model is registered as {address}{near}") from error


def _check_store(store: str, address: str) -> None:
    """Raise ZooError if the store is an SQLite file that is not there; MLflow would make an empty one."""
    if is_missing(store):
        raise ZooError(
            f"{address} needs an MLflow store, and there is none at {store}; run a search first or set "
            f"MLFLOW_TRACKING_URI"
        )


def _line(said: str) -> str:
    """The first line of what went wrong. MLflow says the whole address that it asked."""
    return without_password(said.splitlines()[0])
