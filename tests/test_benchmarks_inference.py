"""The inference benchmark tags the same files in every way, and says what it measured."""

from pathlib import Path

import pytest
from benchmarks import inference
from benchmarks.crowd import Taken

SMALL = "samplecnn_m3_n3_s729"


def test_every_way_gives_the_same_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "SECONDS", 3.1)
    tagger = inference.a_tagger(SMALL, "cpu")
    files = inference.noise(tmp_path, 3, tagger.sample_rate_hz)
    assert inference.length(files) == pytest.approx(9.3, abs=0.01)
    in_a_folder = [song.probabilities for song in inference._folder(tagger, files)]
    for file, plain, told in zip(
        files, inference.plainly(tagger.network, tagger, files), in_a_folder, strict=True
    ):
        assert list(tagger(file).values()) == pytest.approx(plain.tolist(), abs=1e-5)
        assert told == pytest.approx(plain, abs=1e-5)


def test_rates_are_of_audio_and_ratios_medians_within_a_round() -> None:
    taken = {
        "a plain loop over segments": [Taken(6, core) for core in (3, 4, 40)],
        "a folder": [Taken(3, core) for core in (1, 2, 10)],
    }
    assert list(inference.rows(SMALL, taken, 1200, "core")) == [
        f"| {SMALL} | a plain loop over segments | 200 | 300 | 1.00 |",
        f"| {SMALL} | a folder | 400 | 600 | 3.00 |",
    ]
    assert [line.split(" | ")[-1] for line in inference.rows(SMALL, taken, 1200, "wall")] == [
        "1.00 |",
        "2.00 |",
    ]


def test_words_and_folders_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "one.mp3").write_bytes(b"ID3")
    for words, answer in (
        (
            [f"source={tmp_path}", "files=2", f"networks={SMALL}"],
            f"{tmp_path} has 1 audio files, files=2 are wanted",
        ),
        (["files=0"], "give at least files=1, rounds=1 and threads=1"),
        (["device=tpu"], "device=tpu: give cpu or cuda"),
    ):
        assert inference.main(words) == 2
        assert capsys.readouterr().err == f"{answer}\n"


def test_the_whole_benchmark_says_a_line_for_each_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(inference, "SECONDS", 1.0)
    assert inference.main([f"networks={SMALL}", "files=2", "rounds=1"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"| {SMALL} | {way} |" in said for way in ("a plain loop over segments", "file by file", "a folder")
    )
    assert "load after" in said
