"""Homes and files with odd names: their databases are where their addresses lead, or they are refused in a line."""

import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import make_url

import datasets
from dashboards.__main__ import main as dashboards
from datasets.sqlite import address_of, file_of, is_missing
from search import compare, publish, run, table
from search.recording.store import client, experiment, tracking_uri
from search.study.records import storage_url

ODD = "q #1 ü 100% 5%zz"


@pytest.mark.parametrize("name", ["plain", ODD, "q?x", "q%41", "%3F?%25"])
def test_the_address_of_a_file_leads_to_it_here_and_in_sqlalchemy(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "mlflow.db"
    assert make_url(address_of(file)).database == str(file)
    assert file_of(address_of(file)) == file
    assert is_missing(address_of(file))


def test_an_address_that_is_typed_is_read_as_sqlalchemy_reads_it() -> None:
    assert file_of("sqlite:////a%20b/c.db?timeout=5") == Path("/a b/c.db")
    assert file_of("sqlite+pysqlite:///c.db") == Path("c.db")


@pytest.mark.parametrize(
    "address",
    [
        "http://host:5000",
        "postgresql://db/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:a.db?uri=true",
    ],
)
def test_an_address_of_no_file_has_none_that_could_be_missing(address: str) -> None:
    assert file_of(address) is None
    assert not is_missing(address)


def test_in_a_home_with_an_odd_name_everything_lies_below_it(
    tmp_path: Path, mlflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ODD
    home.mkdir()
    shutil.copy(mlflow_db, home / "mlflow.db")
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    mlflow = client(tracking_uri(None))
    kept = mlflow.create_run(experiment(mlflow, "x")).info.run_id
    mlflow.log_text(kept, "weights", "checkpoint/x.txt")
    assert Path(mlflow.download_artifacts(kept, "checkpoint/x.txt")).read_text() == "weights"
    assert storage_url(None) == f"sqlite:///{home}/studies.db"
    assert [each.name for each in tmp_path.iterdir()] == [ODD]
    assert {each.name for each in home.iterdir()} == {"mlflow.db", "mlflow"}


@pytest.mark.parametrize(("name", "unfit"), [("q?x", "?"), ("q%41 #1", "%41")])
def test_a_home_that_mlflow_cannot_use_is_refused_by_every_command_in_a_line(
    name: str,
    unfit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / name))
    words = (
        f"{tmp_path / name}: MLflow can't keep a database in a folder with '{unfit}' in its path; set WAVEZOO_HOME to "
        f"one without it"
    )
    with pytest.raises(datasets.DatasetError, match=f"^{re.escape(words)}$"):
        datasets.home()
    commands = [
        (run.main, ["space=smoke"]),
        (table.main, ["demo-x"]),
        (compare.main, ["a", "b"]),
        (publish.main, ["7" * 32]),
        (dashboards, ["export", f"out={tmp_path / 'pages'}"]),
    ]
    for command, typed in commands:
        assert command(typed) != 0
        assert capsys.readouterr().err.removeprefix(f"{typed[0]} is not registered: ") == f"{words}\n"
    assert list(tmp_path.iterdir()) == []
