"""What importing the package costs and touches, and where data lives."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import datasets
from datasets.home import made_home

HEAVY = ("torch", "pyarrow", "soundfile", "soxr", "rich", "ray", "mlflow", "optuna", "pandas")


def loaded_after(statements: str, home: Path) -> set[str]:
    """Top-level modules a fresh interpreter has loaded after some statements."""
    script = (
        f"{statements}\nimport json, sys\nprint(json.dumps([name.split('.')[0] for name in sys.modules]))"
    )
    environment = {"WAVEZOO_HOME": str(home), "PATH": ""}
    folder = Path(datasets.__file__).parent.parent
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ended.stdout))


def test_importing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_after("import datasets", tmp_path) & set(HEAVY)


def test_labels_load_no_torch(demo_home: Path) -> None:
    found = loaded_after("import datasets; assert datasets.labels('demo', 'test').any()", demo_home)
    assert "pyarrow" in found
    assert "torch" not in found


def test_names_home_and_cards_load_nothing_heavy(demo_home: Path) -> None:
    statements = (
        "import datasets; datasets.home(); datasets.names(); "
        "assert datasets.is_built('demo'); assert not datasets.is_built('mtat'); datasets.card('demo')"
    )
    assert not loaded_after(statements, demo_home) & set(HEAVY)


def test_it_imports_none_of_the_packages_built_on_it(demo_home: Path) -> None:
    loaded = loaded_after("import datasets, datasets.build; datasets.open('demo')", demo_home)
    assert not loaded & {"zoo", "search", "dashboards"}
    assert "torch" in loaded


def test_the_imported_datasets_is_ours() -> None:
    # Hugging Face's package has the same import name.
    assert datasets.DatasetError.__module__ == "datasets.errors"


def test_data_sets_are_the_files_that_say_so() -> None:
    assert datasets.names() == ["demo", "folder", "msd", "mtat"]


def test_home_is_the_folder_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "data"))
    assert datasets.home() == tmp_path / "data"
    monkeypatch.delenv("WAVEZOO_HOME")
    monkeypatch.chdir(tmp_path)
    assert datasets.home() == tmp_path / "wavezoo-data"


def test_a_home_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "data"))
    with pytest.raises(datasets.DatasetError, match="data is not a folder; set WAVEZOO_HOME to one that"):
        datasets.home()


def test_a_name_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'datasets' has no attribute 'load_dataset'"):
        _ = datasets.load_dataset


def test_a_home_that_cannot_be_made_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "file" / "home"))
    words = f"{tmp_path}/file/home can't be made (Not a directory); set WAVEZOO_HOME to a folder that may be written to"
    with pytest.raises(datasets.DatasetError, match=f"^{re.escape(words)}$"):
        made_home()
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "new" / "home"))
    assert made_home().is_dir()
