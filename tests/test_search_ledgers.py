"""A ledger that is not there, or out of reach: a line says so, and no command that reads makes one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dashboards.__main__ import main as dashboards
from search import clean, compare, rescore, run, table
from search.errors import SearchError
from search.study.records import Records, out_of_reach

READERS: list[tuple[Callable[[Sequence[str]], int], list[str]]] = [
    (table.main, ["demo-x"]),
    (compare.main, ["demo-x", "demo-y"]),
    (rescore.main, ["demo-x"]),
    (clean.main, []),
]


@pytest.mark.parametrize(("command", "words"), READERS)
def test_where_there_is_no_ledger_a_reader_says_so_and_makes_none(
    command: Callable[[Sequence[str]], int],
    words: list[str],
    bare_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "none.db"
    assert command([*words, f"storage=sqlite:///{file}"]) == 2
    said = f"there is no ledger at sqlite:///{file}; give the storage=URL that the search was run with"
    assert capsys.readouterr().err == f"{said}\n"
    assert not file.exists()


def test_pages_of_no_ledger_say_so_and_make_none(
    bare_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "none.db", tmp_path / "pages"
    assert dashboards(["export", f"out={out}", f"storage=sqlite:///{file}"]) != 0
    assert f"there is no ledger at sqlite:///{file}; give the storage=URL" in capsys.readouterr().err
    assert not file.exists()


def test_a_database_of_something_else_is_no_ledger(bare_home: Path, mlflow_db: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    for file in (mlflow_db, tmp_path / "empty.db"):
        with pytest.raises(SearchError, match=f"^there is no ledger at sqlite:///{file}; give "):
            Records(f"sqlite:///{file}").searches()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "sqlite:////nope/x.db",
            "sqlite:////nope/x.db: there is no folder /nope; make it first, or give another ",
        ),
        (
            "sqlite:////dev/null/x.db",
            "sqlite:////dev/null/x.db: there is no folder /dev/null; make it first, or ",
        ),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/db",
            'postgresql+psycopg://...@127.0.0.1:1/db: connection failed: connection to server at "127.0.0.1", port 1 ',
        ),
    ],
)
def test_a_ledger_out_of_reach_is_told_in_a_line_without_statements_links_and_passwords(
    address: str, said: str, fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["space=smoke", f"storage={address}"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"can't open the ledger {said}")
    assert line.count("\n") == 1
    for word in ("SQL:", "sqlalche.me", "OperationalError", "secret"):
        assert word not in line


def test_what_a_database_says_of_a_statement_is_told_without_the_statement(
    bare_home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database at all, but long enough to be looked at")
    with pytest.raises(SearchError) as refused:
        Records(f"sqlite:///{file}").searches()
    assert str(refused.value) == f"can't read the ledger sqlite:///{file}: file is not a database"


def test_an_error_of_many_lines_becomes_one(bare_home: Path) -> None:
    error = RuntimeError("the tables are older\n  than this release")
    said = str(out_of_reach("open", "postgresql://me:secret@db/x", error))
    assert said == "can't open the ledger postgresql://...@db/x: the tables are older than this release"
