"""The benchmark of a step on a GPU: its words, and what it says where there is none."""

import pytest
import torch
from benchmarks import gpu


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["compile=maybe"], "compile=maybe: give yes or no"),
        (["batch=1"], "give at least batch=2, steps=1 and rounds=1"),
        (["networks=samplecnm"], "no network is called 'samplecnm'"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert gpu.main(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1


def test_without_a_gpu_it_says_what_to_take_instead(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert (
        "no GPU that torch can use; python -m tests.benchmarks.step is for processors"
        in capsys.readouterr().err
    )


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert gpu.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}=" in said for word in gpu.Settings.__dataclass_fields__)
