"""The benchmark of the start waits for a training that has really begun, and leaves nothing running."""

from pathlib import Path

import pytest
from benchmarks import start as benchmark
from commands import nothing_left


def test_words_that_cannot_be_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["repeats=0"]) == 2
    assert capsys.readouterr().err == "give at least repeats=1\n"
    assert benchmark.main(["--help"]) == 0
    assert "repeats=3" in capsys.readouterr().out


@pytest.mark.slow
def test_the_first_training_is_waited_for_and_the_search_ended(fresh_home: Path) -> None:
    assert benchmark.first_training(fresh_home) > 0
    assert list(fresh_home.glob("trials/*/settings.json"))
    assert nothing_left(fresh_home)
