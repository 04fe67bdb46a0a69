"""python -m search.publish: a trained network into MLflow's registry, through the gate.

    python -m search.publish RUN
    python -m search.publish RUN alias=challenger
    python -m search.publish RUN force=true reason="the old one was trained on the wrong labels"

RUN is the id of a run in MLflow; the signature of a trial (or its first 6 digits or more), or its folder; the name of a
search, which means its best network, or SEARCH/NETWORK; or another model, models:/NAME@ALIAS or models:/NAME/VERSION.

Its weights are read from the store and score the test clips again, which must give the stored scores bit for bit. The
first model of a name becomes its champion. A later one does so if, on the same protocol, tag list and data set, it is
better by more than chance: the 95 % interval of the paired difference leaves zero out. Else it becomes the challenger.

alias=NAME      give it this alias instead, without a comparison
force=true      make it the champion whatever the comparison says; needs reason=, which is recorded
model=NAME      the model's name; by default that of the run's experiment, <dataset>-<space>
tracking=URI    MLflow's store or server; by default MLFLOW_TRACKING_URI, else the file in WAVEZOO_HOME
storage=URL     the ledger with the search; by default WAVEZOO_STORAGE, else the file in WAVEZOO_HOME

Exit codes: 0 it is registered, 1 it is not, 2 the words were wrong, 130 interrupted.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.words import parse
from search import files
from search.checks import A_NAME, is_name
from search.errors import ConfigError, SearchError
from search.results.named import FORMS, run_of_model, signature_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

WORDS = ("alias", "force", "reason", "model", "tracking", "storage")
DONE, REFUSED, WRONG_WORDS, INTERRUPTED = 0, 1, 2, 130


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    from datasets import DatasetError

    if {"-h", "--help", "help"} & set(typed):
        print(__doc__, end="")
        return DONE
    try:
        run, given = _read_words(typed)
    except (ConfigError, DatasetError) as error:
        print(error, file=sys.stderr)
        return WRONG_WORDS
    return _publish(run, given)


def _read_words(typed: Sequence[str]) -> tuple[str, dict[str, str]]:
    runs = [word for word in typed if "=" not in word]
    given = parse([word for word in typed if "=" in word], WORDS)
    if len(runs) != 1:
        raise ConfigError(f"publish takes one RUN, not {len(runs)}: give {FORMS}")
    for key in ("alias", "model"):
        if key in given and not is_name(given[key]):
            raise ConfigError(f"{key}={given[key]}: {A_NAME}")
    if re.fullmatch(r"[vV][0-9]+|latest", given.get("alias", "")):
        raise ConfigError(f"alias={given['alias']}: MLflow keeps such names for version numbers")
    if given.get("force", "false") not in ("true", "false"):
        raise ConfigError(f"force={given['force']}: give true, or leave it out")
    if (given.get("force") == "true") != bool(given.get("reason", "").strip()):
        raise ConfigError(
            "force=true and reason='why the gate is wrong here' go together, as the reason is recorded"
        )
    if given.get("force") == "true" and given.get("alias", "champion") != "champion":
        raise ConfigError(f"force=true makes a champion; alias={given['alias']} needs no force")
    return runs[0], given


def _publish(run: str, given: dict[str, str]) -> int:
    from search.recording.gate import CHAMPION
    from search.recording.publishing import publish
    from search.recording.store import client, reader, tracking_uri
    from zoo import ZooError

    try:
        uri = tracking_uri(given.get("tracking"))
        # With a name, a folder may be the first of a store
        mlflow = client(uri) if "model" in given else reader(uri)
        run_id = find_run(mlflow, run, given.get("model"), given.get("storage"))
        model = given.get("model") or _model_of(mlflow, run_id)
        made = publish(uri, model, run_id, given.get("alias", CHAMPION), given.get("reason"))
    except (SearchError, ZooError) as error:
        print(f"{run} is not registered: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "requests", "sqlalchemy")):
            raise
        print(f"{run} is not registered: MLflow says: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return REFUSED
    print(
        f"version {made.version} of {made.model} is its {made.alias}: {made.why}\ncommit: {made.git}\n{made.uri}"
    )
    return DONE


def find_run(mlflow: "MlflowClient", run: str, model: str | None, storage: str | None = None) -> str:
    """The id of the MLflow run that a word means. raises: SearchError if there is none.

    model: the name under which a folder is recorded in MLflow where it is not yet. storage: as in the words.
    """
    folder = Path(run)
    if (folder / files.RESULT).is_file():
        signature = str(files.read_json(folder / files.RESULT)["signature"])
        return _run_of(mlflow, signature) or _recorded(mlflow, folder, signature, model)
    if written := re.fullmatch(r"(?:runs:/)?([0-9a-f]{32})", run):
        return written[1]
    if run.startswith("models:/"):
        return run_of_model(mlflow, run)
    signature = run if re.fullmatch(r"[0-9a-f]{16}", run) else signature_of(run, storage)
    if found := _run_of(mlflow, signature):
        return found
    if (files.trial_folder(signature) / files.RESULT).is_file():
        return _recorded(mlflow, files.trial_folder(signature), signature, model)
    raise SearchError(
        f"no run in MLflow and no folder of a trial that has ended has the signature {signature}"
    )


def _run_of(mlflow: "MlflowClient", signature: str) -> str | None:
    """The run of a trial that has ended well."""
    from search.recording.marks import SIGNATURE

    places = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    words = f"tags.`{SIGNATURE}` = '{signature}' and attributes.status = 'FINISHED'"
    found = mlflow.search_runs(places, words, max_results=1)
    return str(found[0].info.run_id) if found else None


def _recorded(mlflow: "MlflowClient", folder: Path, signature: str, model: str | None) -> str:
    """A new run for a trial that no search has recorded, as of another machine."""
    from search.recording.marks import SIGNATURE

    if model is None:
        raise SearchError(
            "no run in MLflow is of this trial; to record it there, say its model's name: model=NAME"
        )
    experiment = mlflow.get_experiment_by_name(model)
    place = experiment.experiment_id if experiment else mlflow.create_experiment(model)
    run = str(mlflow.create_run(place, tags={SIGNATURE: signature}, run_name=folder.name).info.run_id)
    mlflow.log_artifacts(run, str(folder / files.CHECKPOINT), files.CHECKPOINT)
    mlflow.log_artifact(run, str(folder / files.SCORES))
    mlflow.set_terminated(run, "FINISHED")
    return run


def _model_of(mlflow: "MlflowClient", run_id: str) -> str:
    return str(mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id).name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
