"""The benchmark of the dashboards makes whole pages of many trainings, and says what it measured."""

import re
from pathlib import Path

import pytest
from benchmarks import dashboards as benchmark

from dashboards.reading import Reading


def test_words_that_cannot_be_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["trials=1"]) == 2
    assert capsys.readouterr().err == "give at least trials=2 and epochs=1\n"
    assert benchmark.main(["trial=5"]) == 2
    assert "did you mean trials?" in capsys.readouterr().err
    assert benchmark.main(["--help"]) == 0
    assert "trials=1000" in capsys.readouterr().out


def test_every_page_is_made_of_all_the_trainings(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark.make(bare_home, 30, 3)
    (search,) = Reading().searches()
    assert len(search.records) == 30
    assert not [trial.trouble for record in search.records if (trial := Reading().trial(record)).trouble]
    for name in benchmark.PAGES:
        found = benchmark.measure(name)
        assert found["later"] > 0
        assert found["size"] > 20_000


def test_the_table_has_a_row_for_each_page() -> None:
    said: list[str] = []
    benchmark.benchmark(2, 1, said.append)
    rows = [line for line in said if re.match(r"\| (paper|search|leaderboard) \|", line)]
    assert len(rows) == len(benchmark.PAGES)
    assert all(re.search(r"\d+\.\d\d \| \d+\.\d\d \| \d+\.\d\d \| [\d,]+ \|$", row) for row in rows)
