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


def test_where_the_plain_form_does_not_fit_the_others_are_compared_with_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_large(name: str) -> gpu.Step:
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore of it.")

    for name in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(gpu, "milliseconds", lambda step, count: 2.0)
    monkeypatch.setattr(gpu, "forms", lambda wanted: {"plain": too_large, "bf16": lambda name: lambda: None})
    name = "samplecnn_m3_n3_s9"
    first, second = gpu.rows(name, gpu.settings(["batch=20"]))
    assert first.startswith(f"| {name} | plain | CUDA out of memory. |")
    assert second.startswith(f"| {name} | bf16 | 2.000 | 10,000 |")
    assert second.endswith(" | - |")


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert gpu.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}=" in said for word in gpu.Settings.__dataclass_fields__)
