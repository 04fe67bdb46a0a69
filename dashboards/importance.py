"""Which parameters decide whether a training is good: PED-ANOVA as Optuna has it, conditional parameters included."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean

from search.errors import SearchError

BEST = 0.2  # the share of the points that are called good
FEWEST = 25  # points: Optuna asks for five good ones or more

Params = Mapping[str, tuple[float, str]]  # as in search.study.records.Record


def points(trained: Sequence[tuple[Params, float]]) -> list[tuple[Params, float]]:
    """What was tried, each point once: with the mean over its seeds. trained: parameters and valid AUC of each."""
    found: dict[str, list[tuple[Params, float]]] = {}
    for params, auc in trained:
        found.setdefault(json.dumps(params, sort_keys=True), []).append((params, auc))
    return [(group[0][0], fmean(auc for _, auc in group)) for group in found.values()]


def importance(tried: Sequence[tuple[Params, float]]) -> dict[str, float]:
    """The share of each parameter, largest first; they add up to 1.

    tried: points with their valid AUC. raises: SearchError if a value is none of its distribution.
    """
    import optuna
    from optuna.distributions import json_to_distribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A study in memory: nothing is asked of the ledger, and what is weighed is the AUC whatever the objectives are.
    storage = optuna.storages.InMemoryStorage()
    key = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "points")
    study = optuna.load_study(study_name=storage.get_study_name_from_id(key), storage=storage)
    try:
        for params, auc in tried:
            ways = {name: json_to_distribution(way) for name, (_, way) in params.items()}
            values = {name: ways[name].to_external_repr(value) for name, (value, _) in params.items()}
            study.add_trial(optuna.trial.create_trial(params=values, distributions=ways, value=auc))
    except (ValueError, LookupError) as error:
        raise SearchError(f"the ledger holds parameters that can't be: {error}") from error
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST))
