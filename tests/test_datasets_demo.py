"""demo: rendered from a seed, the same each time, with tags that follow from what is played."""

from pathlib import Path

import numpy as np
import pytest

import datasets
from datasets import demo as rendered
from datasets.build import build
from datasets.recipe import PlannedClip


def test_demo_has_512_clips_that_hold_one_segment_of_the_longest_network(demo: str) -> None:
    card = datasets.card(demo)
    assert card.conventions == {"rendered": {"train": 320, "valid": 96, "test": 96}}
    assert (card.clips, card.clip_samples, card.sample_rate_hz) == (512, 80_000, 22_050)
    assert datasets.open(demo, "test", 78_125).segments_per_clip == 1


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_each_tag_has_clips_with_and_without_it(demo: str, split: str) -> None:
    counts = datasets.open(demo, split).labels.sum(axis=0)
    n_clips = datasets.open(demo, split).n_clips
    assert counts.min() >= 4
    assert counts.max() <= n_clips - 4


def test_tags_are_of_very_different_frequency(demo: str) -> None:
    share = datasets.open(demo, "train").labels.mean(axis=0)
    assert share.min() < 0.1
    assert share.max() > 0.4


def test_a_clip_is_the_same_each_time_it_is_rendered() -> None:
    clip = PlannedClip("7", "", 0, {})
    first = rendered.read_clip("", clip, 22_050, 4.0)
    assert np.array_equal(first, rendered.read_clip("", clip, 22_050, 4.0))
    assert not np.array_equal(first, rendered.read_clip("", PlannedClip("8", "", 0, {}), 22_050, 4.0))


@pytest.mark.parametrize("number", range(0, 512, 37))
def test_a_clip_lies_within_full_scale_and_is_not_silent(number: int) -> None:
    wave = rendered.read_clip("", PlannedClip(str(number), "", 0, {}), 22_050, 4.0)
    assert (wave.shape, wave.dtype) == ((80_000,), np.float32)
    assert 0.01 < np.abs(wave).max() <= 1


def spectrum_share(tags: list[str], low_hz: int, high_hz: int) -> float:
    """Part of the energy of a clip with these tags that lies between two frequencies."""
    wave = rendered.render(tags, np.random.default_rng(0))
    energy = np.abs(np.fft.rfft(wave)) ** 2
    place = np.fft.rfftfreq(len(wave), 1 / 22_050)
    return float(energy[(place >= low_hz) & (place < high_hz)].sum() / energy.sum())


@pytest.mark.parametrize(
    ("tag", "low_hz", "high_hz"),
    [
        ("bass", 20, 100),
        ("drums", 20, 200),
        ("hi-hat", 6_000, 11_000),
        ("noise", 6_000, 11_000),
        ("siren", 900, 2_400),
    ],
)
def test_a_tag_can_be_heard_where_it_sounds(tag: str, low_hz: int, high_hz: int) -> None:
    with_tag, without = (
        spectrum_share([tag, "flute"], low_hz, high_hz),
        spectrum_share(["flute"], low_hz, high_hz),
    )
    assert with_tag > 2 * without + 0.02


def test_loud_is_louder_than_quiet() -> None:
    loud, quiet = (rendered.render([tag, "organ"], np.random.default_rng(0)) for tag in ("loud", "quiet"))
    assert np.sqrt(np.mean(loud**2)) > 4 * np.sqrt(np.mean(quiet**2))


def test_demo_is_rendered_when_it_is_first_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.setattr(rendered, "N_CLIPS", 16)
    assert not datasets.is_built("demo")
    with pytest.raises(datasets.DatasetError, match=r"type: python -m datasets\.build name=demo$"):
        datasets.card("demo")
    assert datasets.open("demo", "test").n_clips == 3
    assert "building demo: 16 of 16 clips" in capfd.readouterr().err
    assert datasets.is_built("demo")


def test_demo_refuses_a_source_and_another_rate(tmp_path: Path) -> None:
    with pytest.raises(datasets.DatasetError, match="demo is rendered and reads no files; leave source= out"):
        build("demo", "somewhere", out=tmp_path)
    with pytest.raises(
        datasets.DatasetError, match="rate=16000: demo is rendered at 22050 Hz; leave rate= out"
    ):
        build("demo", rate_hz=16_000, out=tmp_path)
