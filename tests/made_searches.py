"""Searches, made up: their ledgers and the folders of their trials, as a driver and its workers leave them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from clip_scores import a_network, leave_trial
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

import zoo
from search import files
from search.scoring import resamples
from search.settings import Training, TrialSettings
from search.study.records import About

ABOUT = About("Does it work?", "table2", "small: 3 epochs", "python -m search.run", planned=9)


@dataclass(frozen=True)
class Made:
    """A training. state: as in the ledger. params: each with its distribution. told: further attributes."""

    settings: TrialSettings
    state: TrialState = TrialState.COMPLETE
    params: Mapping[str, tuple[Any, BaseDistribution]] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


def settings(network: str, seed: int = 0, **training: Any) -> TrialSettings:
    """Of a training that has no folder."""
    options = zoo.entry(network).options
    return TrialSettings(network, options, Training(**training), seed, "mtat", "f", "paper", "t")


def trained(network: str, ear: float = 2.0, seed: int = 0, epochs: int = 3, **protocol: Any) -> TrialSettings:
    """A training that has ended, with everything in its folder but weights; the better, the larger its `ear`."""
    said = a_network(ear, seed=sum(map(ord, network)) + seed, **protocol)
    _, done = leave_trial(network, said, seed)
    resamples.of_trial(done.signature())  # which keeps them
    leave_epochs(done, epochs)
    return done


def leave_epochs(of: TrialSettings, epochs: int, seconds: float = 20.0) -> None:
    """The epochs of a training, two to a stage."""
    rows = [
        {
            "epoch": at + 1,
            "stage": at // 2,
            "learning_rate": 0.01 / 5 ** (at // 2),
            "train_loss": 0.5 / (at + 1),
            "valid_loss": 0.6 / (at + 1),
            "valid_roc_auc": 1 - 0.4 / (at + 1),
            "valid_pr_auc": 0.3,
            "new_best": True,
            "last": False,
            "seconds": seconds,
            "micro_batch_size": 23,
        }
        for at in range(epochs)
    ]
    folder = files.trial_folder(of.signature())
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / files.SETTINGS, of.to_json())
    files.write_json(folder / files.EPOCHS, rows)


def failed(of: TrialSettings, kind: str, why: str) -> Made:
    return Made(of, TrialState.FAIL, told={"failure": {"kind": kind, "why": why}})


def a_search(home: Path, name: str, trials: Sequence[TrialSettings | Made], about: About = ABOUT) -> None:
    """Write a search into the ledger."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{home / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    study.set_user_attr("about", asdict(about))
    study.add_trials([_frozen(each if isinstance(each, Made) else Made(each)) for each in trials])
    storage.engine.dispose()


def _frozen(made: Made) -> optuna.trial.FrozenTrial:
    asked = made.params or {"x": (0.5, FloatDistribution(0.0, 1.0))}
    told = {"settings": json.dumps(made.settings.to_json()), "signature": made.settings.signature()}
    return create_trial(
        state=made.state,
        value=0.5 if made.state == TrialState.COMPLETE else None,
        params={name: value for name, (value, _) in asked.items()},
        distributions={name: distribution for name, (_, distribution) in asked.items()},
        user_attrs={**told, **made.told},
    )
