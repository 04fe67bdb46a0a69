"""The table of a search as a paper prints it, and each tag of it."""

import csv
import io
from pathlib import Path
from statistics import mean, stdev

import optuna
import pytest
from made_searches import a_search, trained

from search import files, table

MEL, RAW, DEEP = "melcnn_m3_n4_s729_w729", "samplecnn_m3_n4_s729", "samplecnn_m3_n9_s3"


@pytest.fixture
def search(fresh_home: Path) -> str:
    """Three networks of which one has two seeds, not in the paper's order."""
    trials = [trained(DEEP, 3.0), trained(MEL, 2.0), trained(RAW, 1.0), trained(RAW, 1.2, seed=1)]
    a_search(fresh_home, "demo-table3-1a2b3c", trials)
    return "demo-table3-1a2b3c"


def test_csv_has_all_digits_in_a_row_for_each_network(
    search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([search, "format=csv"]) == 0
    rows = {row["network"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert set(rows) == {MEL, RAW, DEEP}
    seeds = [files.read_result(each)["test"]["roc_auc"] for each in rows[RAW]["signatures"].split()]  # type: ignore[index]
    assert len(seeds) == 2
    assert float(rows[RAW]["test_roc_auc"]) == mean(seeds)
    assert float(rows[RAW]["test_roc_auc_deviation"]) == stdev(seeds)
    assert rows[DEEP]["test_roc_auc_deviation"] == ""
    assert float(rows[DEEP]["paper_test_roc_auc"]) == 0.9055


def test_a_search_of_a_later_release_is_read_without_what_is_not_known_of_it(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_search(fresh_home, "demo-table3-1a2b3c", [trained(RAW)])
    study = optuna.load_study(
        study_name="demo-table3-1a2b3c", storage=f"sqlite:///{fresh_home / 'studies.db'}"
    )
    study.set_user_attr("about", {**study.user_attrs["about"], "mood": "new"})
    assert table.main(["demo-table3-1a2b3c", "format=csv"]) == 0
    assert RAW in capsys.readouterr().out


def test_rows_stand_in_the_order_of_the_papers_table(search: str, capsys: pytest.CaptureFixture[str]) -> None:
    import zoo

    assert table.main([search]) == 0
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:] if line.startswith("|")]
    in_table = [name for name in zoo.names(table="table2") if name in printed]
    assert printed[: len(in_table)] == in_table
    assert set(printed) == {MEL, RAW, DEEP}


def test_latex_is_what_latex_takes(search: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "table3.tex"
    assert table.main([search, "format=latex", f"out={file}"]) == 0
    assert capsys.readouterr().out == f"written to {file}\n"
    text = file.read_text(encoding="utf-8")
    assert text.startswith("% mtat f00d, convention paper, 80 test clips")
    assert "\\begin{tabular}{lrrrrrr}" in text
    assert "samplecnn\\_m3\\_n9\\_s3 & 0.9055 & 0." in text
    assert "$\\pm$" in text
    assert "95 \\% interval" in text
    assert "--0." in text


def test_of_each_tag_there_is_the_auc_of_each_network(
    search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([search, "format=csv", "tags=true"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert table.main([search, "format=csv"]) == 0
    signatures = {
        row["network"]: row["signatures"].split()
        for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
    }
    for network in (MEL, RAW, DEEP):
        results = [files.read_result(each) for each in signatures[network]]
        for at, row in enumerate(rows):
            aucs = [result["tags"][at]["roc_auc"] for result in results]  # type: ignore[index]
            assert row["tag"] == results[0]["tags"][at]["tag"]  # type: ignore[index]
            assert row[network] == ("" if None in aucs else str(mean(aucs)))


def test_of_each_tag_latex_and_markdown_have_four_digits(
    search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([search, "tags=true"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:] if line.startswith("|")]
    assert {len(cell.strip(" |")) for row in rows for cell in row[2:]} == {len("0.1234")}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["demo-table3"], "no search is called 'demo-table3'; did you mean demo-table3-1a2b3c?"),
        (["demo-table3-1a2b3c", "format=cvs"], "format=cvs: did you mean csv?"),
        (["demo-table3-1a2b3c", "tags=yes"], "tags=yes: give true or false"),
        (
            ["demo-table3-1a2b3c", "storge=postgresql://me:secret@db/x"],
            "'storge=postgresql://...@db/x' is no word of this command; did you mean storage?",
        ),
        (["demo-table3-1a2b3c", "out=/proc/nowhere/x"], "out=/proc/nowhere/x can't be written: "),
    ],
)
def test_what_is_not_there_is_told_in_a_line(
    words: list[str], complaint: str, search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith(complaint)
    assert told.count("\n") == 1
