"""A sampler or a pruner that Optuna brings along, by the name of its class."""

import importlib.util
import inspect
import warnings
from typing import Any

from optuna.exceptions import ExperimentalWarning

from datasets.errors import nearest
from search.errors import ConfigError
from search.settings import Choice

__all__ = ["make"]

NEEDS = {"CmaEsSampler": "cmaes"}  # packages that Optuna does not bring along


def make(choice: Choice, module: Any, **more: Any) -> Any:
    """A sampler or pruner by the name of its class in Optuna.

    more: arguments that not every class takes, such as a seed; those it doesn't take are left out.
    raises: ConfigError if Optuna has none of that name, or it can't be made with these arguments.
    """
    if choice.name not in module.__all__:
        known = [name for name in module.__all__ if not name.startswith("Base")]
        raise ConfigError(
            f"Optuna has no {module.__name__}.{choice.name}; {nearest(choice.name, known, most=1)}"
        )
    kind = getattr(module, choice.name)
    if choice.name in NEEDS and importlib.util.find_spec(NEEDS[choice.name]) is None:
        raise ConfigError(f"{choice.name} needs a package that is not here: pip install {NEEDS[choice.name]}")
    taken = {key: value for key, value in more.items() if key in inspect.signature(kind).parameters}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**taken, **choice.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{choice.name} can't be made with {dict(choice.arguments)}: {error}") from error
