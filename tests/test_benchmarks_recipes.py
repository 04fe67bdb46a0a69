"""The benchmark of budgets: each is the file's, and updates are counted to the paper's own best."""

import pytest
from benchmarks import recipes
from benchmarks.recipes import Course

from search.settings import Training


def test_a_course_tells_when_it_was_as_good_as_the_paper_s() -> None:
    paper = Course([(78, 0.6), (156, 0.72), (234, 0.71)], 9.0, 0.65)
    fast = Course([(19, 0.7), (38, 0.73)], 1.0, 0.66)
    assert recipes.row("net", "fast", 0, fast, paper) == (
        "| net | fast | 0 | 2 | 38 | 1.0 | 0.7300 | 0.6600 | 38 |"
    )
    assert recipes.row("net", "paper", 0, paper, fast).endswith("| never |")


def test_budgets_are_those_of_the_files() -> None:
    assert recipes.training_of("paper", "float32") == Training()
    fast = recipes.training_of("fast", "bf16")
    assert (fast.one_cycle, fast.batch_size, fast.precision) == (True, 92, "bf16")


@pytest.mark.usefixtures("demo")
def test_a_network_is_trained_by_every_budget(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    short = Training(learning_rates=(0.05,), epochs_per_stage=2, multiply_adds_per_epoch=1e8)
    monkeypatch.setattr(recipes, "training_of", lambda budget, precision: short)
    assert recipes.main(["dataset=demo", "networks=samplecnn_m3_n3_s729"]) == 0
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| samplecnn")
    ]
    assert [row[1] for row in rows] == ["paper", "fast"]
    assert rows[0][6:8] == rows[1][6:8], "the same training comes out the same"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["budgets=quick"], "budgets=quick: there is no such file in"),
        (["device=tpu"], "device=tpu: give cpu or cuda"),
        (["dataset=nothing"], "nothing"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert recipes.main(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert recipes.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}=" in said for word in recipes.Settings.__dataclass_fields__)
