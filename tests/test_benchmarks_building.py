"""The building benchmark writes the same music each way, and says what it measured."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks import builders, building
from benchmarks.builders import CLIP_SAMPLES, Rate
from mtat_tree import mp3, music

from datasets import store
from datasets.errors import DatasetError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two mp3 of a second."""
    made = [tmp_path / "music" / f"{number}.mp3" for number in range(2)]
    made[0].parent.mkdir()
    for number, file in enumerate(made):
        file.write_bytes(mp3(music(16_000, number)))
    return made


def test_ours_and_the_steps_of_librosa_write_the_same_music(files: list[Path], tmp_path: Path) -> None:
    builders.ours(files, tmp_path)
    builders.librosa_style(files, tmp_path)
    shard = store.read_shard(next(tmp_path.rglob("00000.arrow")), "benchmark")
    assert len(shard.clip_ids) == 2
    for number in range(2):
        ours = shard.values[shard.offsets[number] : shard.offsets[number + 1]] / 32768
        assert np.abs(np.load(tmp_path / f"{number}.npy") - ours).max() < 0.51 / 32768


def test_once_counts_clips_and_bytes(files: list[Path], tmp_path: Path) -> None:
    rate = builders.once("its steps alone (soundfile, soxr), one float32 .npy per clip", files, tmp_path)
    assert rate.n_bytes == 22_050 * 4 + 128
    assert rate.wall > 0
    assert rate.core > 0


def test_the_files_are_made_stereo_at_44100_hz(files: list[Path], tmp_path: Path) -> None:
    loud = builders.stereo(files, tmp_path / "stereo")
    assert builders._kind(loud[0]).startswith("44,100 Hz stereo mp3 of ")
    assert builders._kind(files[0]).startswith("16,000 Hz mono mp3 of ")


def test_the_table_has_medians_ratios_within_a_round_and_what_is_missing() -> None:
    ours, _, steps, _ = builders.WAYS
    rates = {
        ours: [Rate(1, 30, 1.5e6), Rate(1, 10, 1.5e6), Rate(2, 22, 1.5e6)],
        steps: [Rate(1, 10, 2e6), Rate(1, 5, 2e6), Rate(1, 20, 2e6)],
    }
    lines = builders.table(rates).splitlines()
    assert lines[0] == "| way | clips/s | per core-second | MB per clip | times its steps |"
    assert lines[2] == "| ours: one shard of int16 | 1.0 | 22.0 | 1.50 | 2.00 |"
    assert lines[3].startswith("| librosa.load, one float32 .npy per clip | not measured: ")
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["clip=3"], "'clip=3' is no word of this command; did you mean clips?"),
        (["source=.", "clips=many"], "clips= and rounds= are whole numbers: "),
        (["source=.", "rounds=0"], "clips=64, rounds=0: give at least 1 of each"),
        ([], "which music? write source=FOLDER with mp3 in it, or set WAVEZOO_TEST_DATA"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], refusal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("WAVEZOO_TEST_DATA", raising=False)
    assert building.main(words) == 2
    assert capsys.readouterr().err.startswith(refusal)


def test_too_few_files_are_refused(files: list[Path]) -> None:
    folder = files[0].parent
    with pytest.raises(DatasetError, match="has 2 mp3 with something in them, clips=3 are wanted"):
        building.settings([f"source={folder}", "clips=3"])
    assert building.settings([f"source={folder}", "clips=2"]).files == tuple(files)


def test_a_clip_is_as_long_as_those_of_mtat() -> None:
    assert round(29.1 * builders.RATE_HZ) == CLIP_SAMPLES
