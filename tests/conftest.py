"""Fixtures for everyone: real music where it lies, and one rendered data set for the whole run."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch
    from machines import Machines
    from s3_server import Bucket

if not Path("/dev/nvidia0").exists():
    # Its kernels are tested without a GPU by its interpreter. Triton asks for it once, when it is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

os.environ.pop("UV", None)  # what is told to be typed is then the same, however the tests were begun


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """A process that was made ready for training takes numbers below 1e-38 for nothing; the next test needs them."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def on_processor(monkeypatch: pytest.MonkeyPatch) -> "torch.device":
    """A processor that passes for a GPU to blocks, whose kernels Triton's interpreter runs."""
    from kernels_without_gpu import pass_for_a_gpu

    return pass_for_a_gpu(monkeypatch)


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation hears 24 segments at once, six of the demo's clips, so that there is much between its looks."""
    monkeypatch.setattr("search.trials.evaluation.segments_at_once", lambda *given: 24)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with mtat-mini/, mtat-annotations/ and real-mtat-clip/; skips where it isn't given."""
    folder = os.environ.get("WAVEZOO_TEST_DATA")
    if not folder:
        pytest.skip("real music is needed: set WAVEZOO_TEST_DATA to the folder that has mtat-mini")
    return Path(folder)


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WAVEZOO_HOME in which demo has been built; tests that use it only read it."""
    from datasets.build import build

    home = tmp_path_factory.mktemp("demo-home")
    build("demo", workers=1, out=home)
    return home


@pytest.fixture
def demo(demo_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the rendered data set, with WAVEZOO_HOME pointing at it."""
    monkeypatch.setenv("WAVEZOO_HOME", str(demo_home))
    return "demo"


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty WAVEZOO_HOME, without any data set."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    return home


@pytest.fixture
def fresh_home(demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty WAVEZOO_HOME, but for the rendered data set, which it shares."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "datasets").symlink_to(demo_home / "datasets")
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def mlflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store of MLflow's, to be copied: making its tables takes longer than a small search."""
    from search.recording.store import client

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(fresh_home: Path, mlflow_db: Path) -> str:
    """An empty store of MLflow's in an empty home."""
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    return f"sqlite:///{fresh_home / 'mlflow.db'}"


@pytest.fixture(scope="module")
def bucket() -> "Iterator[Bucket]":
    """On an S3 server that all tests of a file share."""
    from s3_server import s3_bucket

    with s3_bucket() as made:
        yield made


@pytest.fixture
def machines(demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Machines":
    """Two and more homes, the first of which this process is at."""
    from machines import Machines

    found = Machines(demo_home / "datasets", tmp_path, monkeypatch)
    found.go_to("first")
    return found
