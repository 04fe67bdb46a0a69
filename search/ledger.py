"""The ledger of a search: its Optuna study, in its own storage, and the lock that keeps a second driver out.

The study remembers what was asked for, what runs, what each epoch scored and how each trial ended.
"""

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from datasets.home import home
from search.settings import ConfigError, Decider, SearchError, Settings


def storage_url(settings: Settings) -> str:
    """Where the ledger lies: a SQLite file under home() unless the words say otherwise."""
    return settings.storage or f"sqlite:///{home() / 'studies.db'}"


def open_study(settings: Settings, name: str) -> optuna.Study:
    """The study of that name, made where there is none.

    raises: ConfigError if the sampler or pruner can't be made, SearchError if the storage can't be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home().mkdir(parents=True, exist_ok=True)
    sampler = make(settings.sampler, optuna.samplers, seed=settings.seed)
    pruner = make(settings.pruner, optuna.pruners)
    url = storage_url(settings)
    try:
        return optuna.create_study(
            storage=url,
            study_name=name,
            sampler=sampler,
            pruner=pruner,
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # drivers of databases raise what they like
        raise SearchError(f"can't open the ledger {_without_password(url)}: {error}") from error


def make(decider: Decider, module: Any, **more: Any) -> Any:
    """A sampler or pruner by the name of its class in Optuna.

    more: arguments that not every class takes, such as a seed; those it doesn't take are left out.
    """
    kind = getattr(module, decider.name, None)
    if kind is None:
        raise ConfigError(
            f"Optuna has no {module.__name__}.{decider.name}; search/conf/ shows names that it has"
        )
    taken = {key: value for key, value in more.items() if key in kind.__init__.__code__.co_varnames}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**taken, **decider.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{decider.name} can't be made with {dict(decider.arguments)}: {error}") from error


@contextmanager
def only_driver(name: str) -> Iterator[None]:
    """Hold the study for this process; the lock goes with the process, however it ends.

    raises: SearchError if another driver runs this very search.
    """
    path = home() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise SearchError(
                f"the search {name} is running already (process {file.read().strip() or 'unknown'}); wait for it, "
                f"or give this one another study=NAME"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else url
