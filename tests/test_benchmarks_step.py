"""The step benchmark trains the same network in both forms, and says what it measured."""

import pytest
import torch
from benchmarks import step, stepping
from benchmarks.stepping import Taken
from torch import nn

import zoo
from zoo.layers.tower import ConvBlock

SMALL = "samplecnn_m3_n3_s729"


@pytest.mark.parametrize("name", ["samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "melcnn_m3_n3_s27_w81"])
@pytest.mark.parametrize("form", ["layers", "plain"])
def test_the_plain_form_is_the_same_function_in_layers_of_torch(form: str, name: str) -> None:
    ours, plain = stepping.network_of("ours", name), stepping.network_of(form, name)
    assert not any(isinstance(layer, ConvBlock) for layer in plain.modules())
    assert any(isinstance(layer, nn.MaxPool1d) for layer in plain.modules())
    waves = torch.rand(4, ours.input_samples) * 2 - 1
    logits = []
    for network in (ours, plain):
        torch.manual_seed(0)  # of dropout
        logits.append(network(waves))
        logits[-1].square().sum().backward()
    assert torch.allclose(*logits, atol=1e-4)
    assert torch.allclose(ours.head.weight.grad, plain.head.weight.grad, atol=1e-3)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in plain.parameters())


def test_operations_are_three_times_the_forward_ones_without_the_gradient_of_the_wave() -> None:
    first = 27 * 128 * 729
    assert stepping.operations(SMALL) == 2 * (3 * zoo.entry(SMALL).cost().multiply_adds - first)


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    ours = [Taken(1, core, 300_000_000) for core in (1, 2, 10)]
    plain = [Taken(2, core, 400_000_000) for core in (3, 4, 40)]
    lines = list(step.rows(SMALL, {"ours": ours, "plain": plain}, operations=8e9, bound=16e9))
    assert lines == [
        f"| {SMALL} | ours | 1.00 | 2.00 | 300 | 4.0 | 25% | 3.00 | 0.75 |",
        f"| {SMALL} | plain | 2.00 | 4.00 | 400 | 2.0 | 12% | 1.00 | 1.00 |",
    ]


@pytest.mark.parametrize(("least_seconds", "steps_taken"), [(0.0, 1), (0.5, 1), (2.5, 3)])
def test_small_steps_are_timed_several_together(
    least_seconds: float, steps_taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"wall": 7.0, "core": 3.0}
    monkeypatch.setattr(stepping.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(stepping.time, "process_time", lambda: now["core"])
    steps = []

    def step() -> None:
        steps.append(1)
        now["wall"] += 1.0
        now["core"] += 0.5

    taken = stepping.timed(step, least_seconds)
    assert len(steps) == steps_taken
    assert (taken.wall, taken.core) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["round=3"], "'round=3' is no word of this command; did you mean rounds"),
        (["rounds=few"], "rounds=few is no whole number"),
        (["batch=1"], "give at least batch=2, rounds=1 and threads=1"),
        (["networks=samplecnn_m3_n9_s4x"], "no network is called 'samplecnn_m3_n9_s4x'"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert step.main(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert step.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}=" in said for word in ("networks", "batch", "rounds", "threads"))


def test_a_process_that_has_ended_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(step.sys, "executable", "false")
    assert step.main([f"networks={SMALL}", "batch=3", "rounds=1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        f"{SMALL}, ours: its process has ended with 1, for want of memory where that is -9; batch=3 may be"
        in said
    )


@pytest.mark.slow
def test_the_whole_benchmark_says_a_line_for_each_form() -> None:
    said: list[str] = []
    step.benchmark(step.Settings((SMALL,), batch=2, rounds=1), said.append)
    text = "\n".join(said)
    assert f"| {SMALL} | ours |" in text
    assert f"| {SMALL} | layers |" in text
    assert f"| {SMALL} | plain |" in text
    assert "load after" in text
