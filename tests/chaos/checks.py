"""What must be true after a search, whatever was killed in its course."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EPOCHS = 3
WHOLE = list(range(1, EPOCHS + 1))


def rows(folder: Path) -> list[dict]:
    """The epochs of a trial."""
    file = folder / "epochs.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else []


def findings(home: Path, rates: Sequence[float], seen: Mapping[str, int]) -> dict[str, Any]:
    """What is wrong, by what should have been true; nothing where all is well.

    rates: those that were planned. seen: the signature of each result, and when it had been written when first seen.
    """
    claims = {**in_folders(home, seen), **in_ledger(home, rates), **in_mlflow(home, seen)}
    return {claim: wrong for claim, wrong in claims.items() if wrong}


def in_folders(home: Path, seen: Mapping[str, int]) -> dict[str, Any]:
    again, odd = [], {}
    for folder in (home / "trials").iterdir():
        result, settings = folder / "result.json", folder / "settings.json"
        written = result.stat().st_mtime_ns if result.exists() else 0
        # A trial that starts to train writes its settings down.
        if written != seen.get(folder.name) or settings.stat().st_mtime_ns > written:
            again.append(folder.name)
        epochs = [row["epoch"] for row in rows(folder)]
        if epochs != WHOLE:
            odd[folder.name] = epochs
    return {"no finished trial ran twice": again, "the epochs of a trial are monotone, without gaps": odd}


def in_ledger(home: Path, rates: Sequence[float]) -> dict[str, Any]:
    import optuna
    from optuna.trial import TrialState

    url = f"sqlite:///{home / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    finished = sorted(trial.params["rate"] for trial in done)
    times = Counter(trial.user_attrs["signature"] for trial in done)
    odd = {}
    for trial in done:
        folder = home / "trials" / trial.user_attrs["signature"]
        if trial.intermediate_values != {row["epoch"]: row["valid_roc_auc"] for row in rows(folder)}:
            odd[trial.number] = trial.intermediate_values
    return {
        "what finished is what was planned": finished != sorted(rates) and finished,
        "a signature is finished once": [signature for signature, count in times.items() if count > 1],
        "the ledger holds the epochs of the folders": odd,
        "nothing runs or waits": [trial.number for trial in trials if not trial.state.is_finished()],
    }


def in_mlflow(home: Path, seen: Mapping[str, int]) -> dict[str, Any]:
    from search.recording.marks import SIGNATURE, STUDY
    from search.recording.store import client

    mlflow = client(f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = (each for each in mlflow.search_experiments() if each.name != "Default")
    runs = mlflow.search_runs([experiment.experiment_id], max_results=5000)
    trials = [run for run in runs if SIGNATURE in run.data.tags]
    times = Counter(run.data.tags[SIGNATURE] for run in trials)
    odd = {}
    for run in trials:
        steps = [each.step for each in mlflow.get_metric_history(run.info.run_id, "valid_roc_auc")]
        if steps != WHOLE:
            odd[run.data.tags[SIGNATURE]] = steps
    return {
        "one MLflow run per signature": [signature for signature, count in times.items() if count > 1],
        "every signature is in MLflow": set(seen) ^ set(times),
        "one MLflow run per search": sum(STUDY in run.data.tags for run in runs) != 1,
        "every MLflow run is finished": [run.info.run_id for run in runs if run.info.status != "FINISHED"],
        "MLflow has each epoch once": odd,
    }
