"""One way for the data: who may import whom, which library lives where, and what stays light."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "datasets": set(),
    "zoo": {"datasets"},
    "search": {"datasets", "zoo"},
    "dashboards": {"datasets", "zoo", "search"},
}
# The rooms of search/, each of which asks those after it: the commands ask all, and all ask what stands last.
ROOMS = (
    "commands",
    "results",
    "running",
    "recording",
    "study",
    "trials",
    "planning",
    "scoring",
    "spaces",
    "shared",
)
COMMANDS = {"run", "compare", "rescore", "table", "publish", "clean", "words"}
# Where each library may be imported; a folder's name means all of its files.
HOMES = {
    "ray": {
        "search/running/cluster.py",
        "search/running/placing.py",
        "search/running/process.py",
        "search/running/companions.py",
        "search/running/halting.py",
        "datasets/cluster.py",
        "datasets/head.py",
    },
    "optuna": {
        "search/study/ledger.py",
        "search/study/chosen.py",
        "search/study/mirror.py",
        "search/study/recall.py",
        "search/study/deciding.py",
        "search/study/hopes.py",
        "search/study/stopping.py",
        "search/study/pruning.py",
        "search/study/sampling.py",
        "search/spaces",
        "dashboards/importance.py",
    },
    "sqlalchemy": {"search/study/records.py", "search/study/driving.py", "search/study/mirror.py"},
    "mlflow": {
        "search/recording/store.py",
        "search/recording/tracking.py",
        "search/recording/told.py",
        "search/recording/password.py",
        "search/recording/delivering.py",
        "search/recording/publishing.py",
        "search/publish.py",
        "search/results/named.py",
        "zoo/trained/locate.py",
        "zoo/served.py",
    },
    "sklearn": set(),  # the tests' oracle
    "pyarrow": {"datasets/store.py", "search/scoring/score_table.py", "search/storage.py"},
    "av": {"datasets/m4a.py"},
    "hydra": {"search/words.py"},
    "jinja2": {"dashboards/rendering.py"},
    "starlette": {"dashboards"},
    "uvicorn": {"dashboards/running.py"},
    "plotly": set(),  # its script is read where it lies; its Python is the tests' oracle
}


def room(module: str) -> str:
    """Of a module of search/."""
    _, _, within = module.partition(".")
    first = within.split(".")[0]
    return first if first in ROOMS else "commands" if first in COMMANDS else "shared"


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for package in MAY_IMPORT:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions and for typing too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(file: Path, known: dict[str, Path]) -> set[str]:
    return {name for name in imports(file) if name in known}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_along_the_arrow_only(package: str) -> None:
    for name, file in modules().items():
        if name.split(".")[0] == package:
            others = {other.split(".")[0] for other in imports(file)} & set(MAY_IMPORT) - {package}
            assert others <= MAY_IMPORT[package], f"{name} imports {others - MAY_IMPORT[package]}"


def test_a_room_of_the_search_asks_only_those_after_it() -> None:
    known = modules()
    for name, file in known.items():
        if name.startswith("search."):
            for other in own_imports(file, known):
                if other.startswith("search."):
                    assert ROOMS.index(room(name)) <= ROOMS.index(room(other)), f"{name} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    # A package's own file stands for the package: whoever imports a.b has run a's __init__ anyway.
    graph = {name: own_imports(file, known) - {name, name.rpartition(".")[0]} for name, file in known.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", HOMES)
def test_a_library_lives_in_few_files(library: str) -> None:
    for file in modules().values():
        if library in {name.split(".")[0] for name in imports(file)}:
            place = file.relative_to(ROOT).as_posix()
            homes = HOMES[library]
            assert place in homes or str(Path(place).parent) in homes, f"{place} imports {library}"


def texts(file: Path) -> Iterator[str]:
    """Every text of a file but its docstrings and what --help prints."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    aside: set[int] = set()
    for node in ast.walk(tree):
        is_help = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP"
        if is_help or isinstance(node, ast.Expr):
            aside |= {id(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
            yield node.value


def test_what_is_told_to_be_typed_begins_as_the_command_did_that_tells_it() -> None:
    for name, file in modules().items():
        if name != "search.results.conclusion":  # where it stands behind begun_with()
            assert not [text for text in texts(file) if "python -m" in text], (
                f"{name}: datasets.words.command"
            )


def assert_lean(code: str, heavy: set[str]) -> None:
    """The code, run by itself, loads none of these."""
    check = f"import sys; sys.exit(str({heavy!r} & set(sys.modules)) if {heavy!r} & set(sys.modules) else 0)"
    words = [sys.executable, "-c", f"{code}\n{check}"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_network_loads_anywhere_torch_does() -> None:
    heavy = {"ray", "mlflow", "pyarrow", "sklearn", "optuna", "flask", "fastapi", "hydra"}
    assert_lean("import zoo; zoo.create('samplecnn_m3_n3_s729')", heavy)


def test_a_worker_imports_nothing_that_it_does_not_use() -> None:
    heavy = {"mlflow", "sklearn", "optuna", "hydra", "sqlalchemy", "torch._dynamo"}
    assert_lean("import search.running.process, search.trials.trial, search.trials.worker", heavy)


def test_the_imported_datasets_is_ours() -> None:
    import datasets

    assert Path(datasets.__file__).parent == ROOT / "datasets"


def test_nothing_is_unpickled_and_files_stay_short() -> None:
    for name, file in modules().items():
        text = file.read_text(encoding="utf-8")
        assert "pickle" not in {found.split(".")[0] for found in imports(file)}, name
        calls = re.findall(r"\btorch\.load\b.*", text)
        # Only other people's weights come as pickles, and only their tensors are read.
        assert not calls or name == "zoo.trained.foreign", name
        assert all("weights_only=True" in call for call in calls), name
        assert text.count("\n") <= 400, f"{name} has {text.count(chr(10))} lines"
