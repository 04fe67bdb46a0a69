"""python -m search.publish: a trained network into MLflow's registry, through the gate.

    python -m search.publish RUN
    python -m search.publish RUN alias=challenger
    python -m search.publish RUN force=true reason="the old one was trained on the wrong labels"

RUN is the id of a run in MLflow; the signature of a trial (or its first 6 digits or more), or its folder; the name of a
search, which means its best network, or SEARCH/NETWORK; or another model, models:/NAME@ALIAS or models:/NAME/VERSION.

Its weights are read from the store and score the test clips again, which must give the stored scores bit for bit. The
first model of a name becomes its champion. A later one does so if, on the same protocol, tag list and data set, it is
better by more than chance: the 95 % interval of the paired difference leaves zero out. Else it becomes the challenger.

alias=NAME      give it this alias instead (any but champion), without a comparison
force=true      make it the champion whatever the comparison says; needs reason=, which is recorded
model=NAME      the model's name; by default that of the run's experiment, <dataset>-<space>
tracking=URI    MLflow's store or server; by default MLFLOW_TRACKING_URI, else the file in WAVEZOO_HOME
storage=URL     the ledger with the search; by default WAVEZOO_STORAGE, else the file in WAVEZOO_HOME

Exit codes: 0 it is registered, 1 it is not, 2 the words were wrong, 130 interrupted.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import DatasetError
from datasets.words import parse
from search import files
from search.checks import A_NAME, is_name
from search.errors import ConfigError, SearchError, without_password
from search.results.named import FORMS, folder_of, is_run, run_of, split

if TYPE_CHECKING:
    from mlflow import MlflowClient

WORDS = ("alias", "force", "reason", "model", "tracking", "storage")
DONE, REFUSED, WRONG_WORDS, INTERRUPTED = 0, 1, 2, 130


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if {"-h", "--help", "help"} & set(typed):
        print(__doc__, end="")
        return DONE
    try:
        run, given = _read_words(typed)
    except (ConfigError, DatasetError) as error:
        print(without_password(str(error)), file=sys.stderr)
        return WRONG_WORDS
    return _publish(run, given)


def _read_words(typed: Sequence[str]) -> tuple[str, dict[str, str]]:
    runs, more = split(typed)
    given = parse(more, WORDS)
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
    from search.recording.store import client, in_a_line, reader, tracking_uri
    from zoo import ZooError

    try:
        uri = tracking_uri(given.get("tracking"))
        # With a name, a folder may be the first of a store
        mlflow = client(uri) if "model" in given else reader(uri)
        run_id = find_run(mlflow, run, given.get("model"), given.get("storage"))
        model = given.get("model") or _model_of(mlflow, run_id)
        made = publish(uri, model, run_id, given.get("alias", CHAMPION), given.get("reason"))
    except (SearchError, DatasetError, ZooError) as error:
        print(f"{run} is not registered: {without_password(str(error))}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "requests", "sqlalchemy")):
            raise
        print(f"{run} is not registered: MLflow says: {in_a_line(error)}", file=sys.stderr)
        return REFUSED
    print(
        f"version {made.version} of {made.model} is its {made.alias}: {made.why}\ncommit: {made.git}\n{made.uri}"
    )
    return DONE


def find_run(mlflow: "MlflowClient", run: str, model: str | None, storage: str | None = None) -> str:
    """The id of the MLflow run that a word means. raises: SearchError if there is none.

    model: the name under which a folder is recorded in MLflow where it is not yet. storage: as in the words.
    """
    if is_run(run):
        return run_of(mlflow, run)
    folder = folder_of(run, storage)
    result, settings = (files.read_json(folder / name) for name in (files.RESULT, files.SETTINGS))
    signature = result["signature"] if result else folder.name
    if found := _run_of(mlflow, signature):
        return found
    if result and settings:
        return _recorded(mlflow, folder, settings, result, model)
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


def _recorded(
    mlflow: "MlflowClient",
    folder: Path,
    settings: Mapping[str, Any],
    result: dict[str, Any],
    model: str | None,
) -> str:
    """A new run for a trial that no search has recorded, as of another machine."""
    from search.outcome import Outcome
    from search.recording import delivering
    from search.recording.marks import SIGNATURE
    from search.recording.search_run import flat
    from search.recording.store import experiment

    if model is None:
        raise SearchError(
            "no run in MLflow is of this trial; to record it there, say its model's name: model=NAME"
        )
    name = f"{settings['network']} seed {settings['seed']}"
    made = mlflow.create_run(experiment(mlflow, model), tags={SIGNATURE: result["signature"]}, run_name=name)
    run_id = str(made.info.run_id)
    epochs = files.read_json(folder / files.EPOCHS) or ()
    when = delivering.moments(made.info.start_time, epochs)
    delivering.deliver(mlflow, run_id, flat(settings), epochs, (), when)
    delivering.settle(mlflow, run_id, folder, Outcome.DONE, "", result, when[-1])
    return run_id


def _model_of(mlflow: "MlflowClient", run_id: str) -> str:
    return str(mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id).name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
