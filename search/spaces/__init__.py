"""Search spaces: one file each, whose docstring is its lab note (question, cost, target, finding).

A space is a module with a function `sample(trial) -> Point` that asks an Optuna trial for what it needs.
A grid also has `GRID`, a list of the parameters of each of its points: all of them are tried, and none twice.
With `ARCHITECTURES` instead, a list of the same form, those parameters are fixed in turn, each as often as the others,
and the sampler chooses the rest: `trials=` is how many there are in all. With a function `prior(network)`, which gives
the parameters at which `sample` makes the network of that name as the paper trained it (or None), `prior=table2` works.
"""

import ast
import fnmatch
import importlib
import importlib.util
import inspect
import json
import linecache
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import zoo
from datasets.errors import nearest
from search.answers import Fixed
from search.checks import A_NAME, is_name
from search.errors import ConfigError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Point:
    """A place in a space: a network, options of its family, and what its training changes of the budget."""

    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A search space: `grid` is None where a sampler chooses.

    identity: changes when the space holds other points, and not with its lab note.
    architectures: what is fixed in turn where the sampler chooses the rest only. prior: see above.
    """

    name: str
    note: str
    sample: "Callable[[optuna.Trial], Point]"
    grid: tuple[Mapping[str, Any], ...] | None
    paper_table: str | None
    identity: str
    architectures: tuple[Mapping[str, Any], ...] = ()
    prior: Callable[[str], Mapping[str, Any] | None] | None = None

    @property
    def question(self) -> str:
        """The first line of the lab note."""
        return self.note.partition("\n")[0] or self.name

    def points(self) -> list[Point]:
        """The points of the grid, in its order; none where a sampler chooses."""
        return [self.at(Fixed(params)) for params in self.grid or ()]

    def only(self, patterns: Sequence[str]) -> "Space":
        """The same question about fewer networks: those that match a shell pattern. All of them, and it is this space.

        raises: ConfigError for a pattern that matches none, and where the space has no list of networks.
        """
        listed = self.architectures if self.grid is None else self.grid
        names = [self._network(params) for params in listed]
        if not any(names):
            raise ConfigError(
                f"networks={','.join(patterns)}: space {self.name} has no list of networks, a sampler chooses them; "
                f"give a space that is a grid, such as table3"
            )
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                near = nearest(pattern, set(names), most=1, key="networks=")
                raise ConfigError(f"networks={pattern}: no network of space {self.name} is called so; {near}")
        wanted = [any(fnmatch.fnmatchcase(name, each) for each in patterns) for name in names]
        if all(wanted):
            return self
        kept = tuple(params for params, is_wanted in zip(listed, wanted, strict=True) if is_wanted)
        grid, each = (kept, ()) if self.grid is not None else (None, kept)
        return replace(self, grid=grid, architectures=each, identity=_identity(self.sample, grid, each))

    def _network(self, params: Mapping[str, Any]) -> str:
        """The network of a point, or of what is fixed of several; "" where that leaves it open."""
        if self.grid is None:
            return str(params.get("network", ""))
        try:
            return self.at(Fixed(params)).network
        except ConfigError:  # a point that can't be trained, which a plan says
            return str(params.get("network", ""))

    def at(self, trial: "optuna.trial.BaseTrial | Fixed") -> Point:
        """The point that a trial stands for. raises: ConfigError if the space's own code fails."""
        try:
            point = self.sample(trial)  # type: ignore[arg-type]
        except Exception as error:  # the user's own code may raise anything
            raise ConfigError(f"space {self.name}: sample fails: {type(error).__name__}: {error}") from error
        if not isinstance(point, Point):
            raise ConfigError(
                f"space {self.name}: sample gives a {type(point).__name__}; it has to give a Point"
            )
        return point


def names() -> list[str]:
    """The spaces that come with the package: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Space:
    """The space of that name, or the one in a Python file of the user's own.

    raises: ConfigError where there is no such space, or the file is not one.
    """
    module = _from_file(Path(name)) if name.endswith(".py") else _from_package(name)
    if not callable(getattr(module, "sample", None)):
        raise ConfigError(f"{name} has no function sample(trial); search/spaces/joint.py shows one")
    grid, each = getattr(module, "GRID", None), getattr(module, "ARCHITECTURES", ())
    if grid is not None and each:
        raise ConfigError(f"{name} has both GRID and ARCHITECTURES; a space is one or the other")
    for word, rows in (("GRID", grid), ("ARCHITECTURES", each)):
        if rows is not None and not (
            isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows)
        ):
            raise ConfigError(f"{name}: {word} has to be a list of dicts, as [{{'network': 'crnn'}}]")
    if not is_name(Path(name).stem):
        raise ConfigError(f"{name} can't name a search: {A_NAME}")
    return Space(
        name=Path(name).stem,
        note=inspect.getdoc(module) or "",
        sample=module.sample,
        grid=None if grid is None else tuple(grid),
        paper_table=getattr(module, "PAPER_TABLE", None),
        identity=_identity(module.sample, grid, each),
        architectures=tuple(each),
        prior=getattr(module, "prior", None),
    )


def _identity(
    sample: Callable[..., Any],
    grid: Sequence[Mapping[str, Any]] | None,
    architectures: Sequence[Mapping[str, Any]],
) -> str:
    if grid is not None:
        return json.dumps(list(grid), sort_keys=True)
    source = inspect.getsource(sample) + _beside(sample)
    return source + json.dumps(list(architectures), sort_keys=True) if architectures else source


def _beside(sample: Callable[..., Any]) -> str:
    """The code beside `sample` in a file of the user's own, which may read it: constants, functions.

    Nothing of the package's spaces, which only a release changes: searches keep the names that they were begun under.
    """
    file = inspect.getfile(inspect.unwrap(sample))
    if Path(file).parent == Path(__file__).parent:
        return ""
    module = ast.parse("".join(linecache.getlines(file)))
    for each in ast.walk(module):
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(each) is not None:
            each.body = each.body[1:] or [ast.Pass()]
    return "\n".join(ast.unparse(each) for each in module.body if _makes_points(each))


def _makes_points(statement: ast.stmt) -> bool:
    """Whether it may change what points there are, and is not in the identity already."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return False
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.FunctionDef(name="sample" | "prior"):
            return False
        case ast.Assign(targets=[ast.Name(id="ARCHITECTURES")]):
            return False
    return True


def table_grid(table: str) -> list[dict[str, str]]:
    """The grid of a table of the paper: its networks, in the table's order."""
    return [{"network": name} for name in zoo.names(table=table)]


def own_training(network: str) -> dict[str, Any]:
    """What a network's own authors changed of the budget's training: for `Point.training`.

    The budget keeps its stages and their length; its learning rates are scaled to begin with the authors' own.
    """
    how = zoo.entry(network).rules.trained
    if how is None:
        return {}
    own = {
        "optimizer": how.optimizer,
        "first_learning_rate": how.learning_rate,
        "batch_size": how.batch_size,
        "weight_decay": how.weight_decay,
        "norm_momentum": how.norm_momentum,
    }
    return {name: value for name, value in own.items() if value is not None}


def _from_package(name: str) -> ModuleType:
    if name not in names():
        near = nearest(name, names(), most=1, key="space=")
        raise ConfigError(
            f"no search space is called '{name}'; {near} (a new one is a file in search/spaces/)"
        )
    return importlib.import_module(f"{__name__}.{name}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(
            f"there is no file {path}; give a name ({', '.join(names())}) or the path of your space"
        )
    spec = importlib.util.spec_from_file_location(f"space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may raise anything: tell it in one line
        raise ConfigError(f"{path} can't be read as a space: {type(error).__name__}: {error}") from error
    return module
