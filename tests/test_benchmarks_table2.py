"""The projection of Table 2 counts an epoch of MTAT, and says what was measured and what was not."""

import pytest
from benchmarks import crowd, table2

import zoo


def test_an_epoch_is_all_whole_segments_of_the_training_clips_in_whole_batches() -> None:
    assert table2.steps_of("samplecnn_m3_n9_s3", 23) == 15_244 * 10 // 23
    assert table2.steps_of("samplecnn_m3_n3_s729", 1) == 15_244 * 32


def test_a_step_that_was_not_measured_takes_its_operations_at_the_rate_of_its_neighbours() -> None:
    below, name, above = (f"samplecnn_m3_n{n}_s{stride}" for n, stride in ((5, 243), (7, 27), (9, 3)))
    operations = [table2.operations_of(it, 23) for it in (below, name, above)]
    measured = {below: 1e-9 * operations[0], above: 3e-9 * operations[2], "samplecnn_m2_n14_s2": 1e6}
    assert table2.projected(name, measured, 23) == pytest.approx(2e-9 * operations[1])
    assert table2.projected("samplecnn_m3_n4_s729", measured, 23) == pytest.approx(
        1e-9 * table2.operations_of("samplecnn_m3_n4_s729", 23)
    )


def test_all_networks_are_in_the_table_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table2, "seconds", lambda name, wanted: 1.0)
    said: list[str] = []
    table2.benchmark(table2.Settings(), said.append)
    rows = [line for line in said if line.startswith("| samplecnn")]
    assert [row.split(" | ")[0][2:] for row in rows] == zoo.names(table="table2")
    assert len(rows) == 42
    assert sum(row.endswith("| measured |") for row in rows) == len(table2.MEASURED)
    assert "| samplecnn_m3_n9_s3 | 10.37 | 6,627 | 1.000 | 1.84 | measured |" in rows
    hours = sum(float(row.split(" | ")[4]) for row in rows)
    assert float(said[-2].split()[1]) == pytest.approx(hours, abs=0.3)


def test_networks_of_one_length_are_told_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def beside(names: list[str], *given: object) -> crowd.Step:
        asked.append(names)
        return lambda: crowd.Taken(0.5, 0.5)

    monkeypatch.setattr(crowd, "beside", beside)
    steps = {f"samplecnn_m3_n{n}_s{stride}": n / 10 for n, stride in ((9, 3), (8, 3), (8, 9))}
    said = list(table2.beside_each_other(table2.Settings(), steps))
    assert asked == [["samplecnn_m3_n9_s3", "samplecnn_m3_n8_s9"], ["samplecnn_m3_n8_s3"]]
    assert said[1:3] == [
        "| 6,627 | 2 | 1.70000 | 0.50000 | 3.40 |",
        "| 21,209 | 1 | 0.80000 | 0.50000 | 1.60 |",
    ]
    times = (6627 * 1.7 + 21209 * 0.8) / (6627 * 0.5 + 21209 * 0.5)
    assert said[3].endswith(f" {times:.2f} times one after the other")
    assert f"beside each other: {(6627 + 21209) * 0.5 / 3600:.2f} hours an epoch, " in said[3]


def test_networks_of_several_kinds_step_beside_each_other() -> None:
    step = crowd.beside(["samplecnn_m3_n3_s9", "samplecnn_m3_n3_s27"], 2, "cpu")
    assert step().wall > 0


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["networks=samplecnn_m3_n9_s3"], "networks= holds none of m=2; give one of each m of Table 2"),
        (["networks=crnn"], "networks=crnn is none of Table 2; see python -m zoo list table=table2"),
        (["device=tpu"], "device=tpu: give cpu or cuda"),
        (["precision=tf32"], "precision=tf32: device=cpu has float32, winograd, bf16"),
        (["device=cuda", "precision=winograd"], "precision=winograd: device=cuda has float32, tf32, bf16"),
        (["beside=yes"], "beside=yes and device=cpu: give yes, which is for cuda, or no"),
        (["batch=1"], "give at least batch=2, rounds=1 and threads=1"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert table2.main(words) == 2
    assert capsys.readouterr().err == f"{answer}\n"


def test_a_step_is_measured() -> None:
    assert 0 < table2.seconds("samplecnn_m3_n3_s9", table2.Settings(batch=2, rounds=1)) < 60
