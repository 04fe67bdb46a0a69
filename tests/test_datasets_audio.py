"""Decoding: any rate and channels to a mono wave, without aliases, without noise on the terminal."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from mtat_tree import mp3, music, wav

from datasets import audio
from datasets.audio import decode, quiet_decoder
from datasets.errors import AudioError, DatasetError


def tone(frequency_hz: float, rate_hz: int, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz / rate_hz * np.arange(round(seconds * rate_hz))).astype(np.float32)


def level_db(wave: np.ndarray) -> float:
    """Level of the middle of a wave against a full-scale sine."""
    middle = wave[len(wave) // 4 : -len(wave) // 4].astype(np.float64)
    return float(20 * np.log10(np.sqrt(2 * np.mean(middle**2)) + 1e-12))


def test_a_12_khz_tone_leaves_no_alias_at_22050_hz(tmp_path: Path) -> None:
    (tmp_path / "tone.wav").write_bytes(wav(tone(12_000, 44_100), 44_100))
    assert level_db(decode(tmp_path / "tone.wav", 22_050)) < -80


@pytest.mark.parametrize("frequency_hz", [50, 1_000, 7_000])
def test_what_the_rate_can_hold_keeps_its_level(tmp_path: Path, frequency_hz: int) -> None:
    (tmp_path / "tone.wav").write_bytes(wav(tone(frequency_hz, 16_000), 16_000))
    assert abs(level_db(decode(tmp_path / "tone.wav", 22_050))) < 0.1


def test_a_wave_at_the_rate_asked_for_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(music(5_000)))
    wave = decode(tmp_path / "a.wav", 22_050)
    assert wave.dtype == np.float32
    assert np.array_equal(wave, music(5_000))


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = music(5_000, 1), music(5_000, 2)
    (tmp_path / "stereo.wav").write_bytes(wav(np.stack([left, right], axis=1)))
    assert np.allclose(decode(tmp_path / "stereo.wav", 22_050), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize(
    ("container", "suffix"), [("WAV", "wav"), ("FLAC", "flac"), ("OGG", "ogg"), ("MP3", "mp3")]
)
def test_wav_flac_ogg_and_mp3_are_read(tmp_path: Path, container: str, suffix: str) -> None:
    file = tmp_path / f"tone.{suffix}"
    soundfile.write(file, tone(440, 44_100), 44_100, format=container)
    assert abs(level_db(decode(file, 22_050))) < 0.5


@pytest.mark.parametrize("native_hz", [16_000, 22_050, 44_100])
def test_a_cut_has_exactly_its_length_and_the_samples_of_the_whole(tmp_path: Path, native_hz: int) -> None:
    (tmp_path / "long.wav").write_bytes(wav(music(3 * native_hz), native_hz))
    whole, cut = decode(tmp_path / "long.wav", 22_050), decode(tmp_path / "long.wav", 22_050, max_seconds=1)
    assert len(cut) == 22_050
    assert np.allclose(cut, whole[:22_050], atol=1e-4)


def test_an_mtat_clip_gives_29_seconds(test_data: Path) -> None:
    file = next((test_data / "real-mtat-clip").rglob("*.mp3"))
    assert len(decode(file, 22_050, max_seconds=29.1)) == 641_655


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (None, "missing", "there is no such file"),
        (b"", "empty", "the file has no bytes"),
        (b"this is no music at all", "undecodable", "no audio is found in it"),
        (wav(np.zeros(0, np.float32)), "empty", "it decodes to no samples"),
        (wav(np.array([0.0, np.nan, 0.0], np.float32)), "undecodable", "some samples are not numbers"),
    ],
)
def test_a_file_without_samples_is_refused_by_name_and_reason(
    tmp_path: Path, content: bytes | None, reason: str, words: str
) -> None:
    file = tmp_path / "song.mp3"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AudioError) as refusal:
        decode(file, 22_050)
    assert str(refusal.value) == f"{file} is {reason}: {words}"
    assert refusal.value.reason == reason


def test_a_rate_below_1_hz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="rate_hz=0: a rate is at least 1 Hz"):
        decode(tmp_path / "a.wav", 0)


def test_a_damaged_mp3_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file = tmp_path / "half.mp3"
    content = mp3(music(64_000))
    file.write_bytes(content[:1_500] + bytes(400) + content[1_900 : len(content) // 2])
    decode(file, 22_050)
    assert capfd.readouterr().err == ""


def test_other_words_on_standard_error_pass_while_decoding(capfd: pytest.CaptureFixture) -> None:
    import os

    with quiet_decoder():
        os.write(2, b"Note: Illegal Audio-MPEG-Header 0x00000000 at offset 7.\nthe disk is on fire\n")
    assert capfd.readouterr().err == "the disk is on fire\n"


def test_a_header_that_claims_too_much_is_refused_before_it_costs_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(music(5_000)))
    monkeypatch.setattr(audio, "MOST_SAMPLES", 4_000)
    with pytest.raises(AudioError, match=r"a\.wav is undecodable: its header claims 5000 frames"):
        decode(tmp_path / "a.wav", 22_050)
