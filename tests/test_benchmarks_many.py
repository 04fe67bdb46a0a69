"""The benchmark of fused replicates trains the same K networks in every form, and says what it measured."""

import pytest
from benchmarks import crowd, many
from benchmarks.crowd import Taken

SMALL = "samplecnn_m3_n3_s9"


def test_trainings_an_hour_are_of_all_replicates_and_ratios_medians_within_a_round() -> None:
    wanted = many.Settings((SMALL,), (2,), steps=900)
    found = {
        "one by one": [Taken(9, core) for core in (3, 4, 40)],
        "as one": [Taken(9, core) for core in (1, 2, 10)],
    }
    assert list(many.rows(SMALL, 2, found, wanted)) == [
        f"| {SMALL} | 2 | one by one | 9000 | 4000 | 2 | 1.00 |",
        f"| {SMALL} | 2 | as one | 9000 | 2000 | 4 | 3.00 |",
    ]
    on_gpu = many.Settings((SMALL,), (2,), steps=900, device="cuda")
    assert [line.split(" | ")[-2:] for line in many.rows(SMALL, 2, found, on_gpu)] == [["1", "1.00 |"]] * 2


@pytest.mark.parametrize("form", crowd.FORMS | crowd.ON_A_GPU)
def test_a_step_of_every_form_moves_every_replicate(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = crowd._prepared
    monkeypatch.setattr(crowd, "_prepared", lambda *given: made.append(real(*given)) or made[0])
    step = (crowd.FORMS | crowd.ON_A_GPU)[form](SMALL, 2, 2, "cpu")
    networks, _ = made[0]
    before = [network.head.weight.detach().clone() for network in networks]
    taken = step()
    assert taken.wall > 0
    assert taken.core > 0
    assert all((network.head.weight != old).any() for network, old in zip(networks, before, strict=True))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["replicates=2,few"], "replicates=2,few: give whole numbers from 1 on, as 1,2,4"),
        (["batch=1"], "give at least batch=2, steps=1, rounds=1 and threads=1"),
        (["device=tpu"], "device=tpu: give cpu or cuda"),
        (["processes=2"], "processes=2: give yes or no"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert many.main(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert many.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"    {word}=" in said for word in many.Settings.__dataclass_fields__)


@pytest.mark.slow
def test_the_whole_benchmark_says_a_line_for_each_form_and_count() -> None:
    said: list[str] = []
    many.benchmark(many.Settings((SMALL,), (1, 2), batch=2, rounds=1, processes=True), said.append)
    text = "\n".join(said)
    for count in (1, 2):
        assert all(
            f"| {SMALL} | {count} | {form} |" in text for form in ("one by one", "as one", "processes")
        )
