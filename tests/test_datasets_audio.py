"""Decoding: any rate and channels to a mono wave, without aliases, without noise on the terminal."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mtat_tree import Clip, mp3, music, wav, write_tree

from datasets import audio, store
from datasets.audio import decode, decode_blocks
from datasets.build import build
from datasets.errors import AudioError, DatasetError
from datasets.shards import quantise


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


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_mix_of_any_number_of_channels_is_their_mean_to_the_bit(channels: int) -> None:
    waves = np.stack([music(5_000, seed) for seed in range(channels)], axis=1)
    assert np.array_equal(audio._mix(waves), waves.mean(axis=1, dtype=np.float32))


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


def test_a_header_that_claims_too_much_is_refused_before_it_costs_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(music(5_000)))
    monkeypatch.setattr(audio, "MOST_SAMPLES", 4_000)
    with pytest.raises(AudioError, match=r"a\.wav is undecodable: its header claims 5000 frames"):
        decode(tmp_path / "a.wav", 22_050)


def test_the_reason_does_not_depend_on_where_the_music_lies(tmp_path: Path) -> None:
    reasons = set()
    for folder in ("here", "elsewhere: 'far' away"):
        file = tmp_path / folder / "song.wav"
        file.parent.mkdir()
        file.write_bytes(wav(music(5_000))[:30])
        with pytest.raises(AudioError) as refusal:
            decode(file, 22_050)
        reasons.add(refusal.value.detail)
    (reason,) = reasons
    assert str(tmp_path) not in reason


SWEEP_SECONDS = 4


def sweep(rate_hz: int, first_hz: float, last_hz: float) -> np.ndarray:
    """(samples, 2) float64: a sine whose frequency rises steadily, and the same a quarter period later."""
    seconds = np.arange(SWEEP_SECONDS * rate_hz) / rate_hz
    turns = first_hz * seconds + (last_hz - first_hz) / (2 * SWEEP_SECONDS) * seconds**2
    return np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=1)


def faded(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """The wave without the clicks of its ends, which hold every frequency."""
    ramp = np.minimum(1, np.arange(len(wave)) / (0.1 * rate_hz))
    return wave * np.sin(np.pi / 2 * ramp) ** 2 * np.sin(np.pi / 2 * ramp[::-1]) ** 2


def built(folder: Path, wave: np.ndarray, native_hz: int, rate_hz: int) -> np.ndarray:
    """What a build stores of a wave, at full scale 1."""
    write_tree(folder, [Clip(2, "0/sweep.mp3", audio=wav(wave.astype(np.float32), native_hz))])
    card = build("mtat", folder, rate_hz=rate_hz, workers=1, out=folder)
    shard = store.read_shard(folder / "datasets" / "mtat" / card.shards[0].file, card.plan_id)
    return shard.values / 32768


RATES = [(44_100, 22_050), (16_000, 22_050), (22_050, 16_000), (44_100, 16_000)]


@pytest.mark.parametrize(("native_hz", "rate_hz"), RATES)
def test_a_sweep_through_the_build_keeps_its_level_and_has_no_images(
    tmp_path: Path, native_hz: int, rate_hz: int
) -> None:
    """Up to 0.45 of the lower rate: within 0.1 dB everywhere, and all else below -80 dB of full scale."""
    highest_hz = 0.45 * min(native_hz, rate_hz)
    wave = sweep(native_hz, 20, highest_hz)[:, 0]
    stored = built(tmp_path, np.stack([1.0 * wave, 0.6 * wave], axis=1), native_hz, rate_hz)
    expected = sweep(rate_hz, 20, highest_hz)
    assert len(stored) == len(expected)
    edge = rate_hz // 10  # its ends are cut off, and a cut sine rings
    parts = zip(np.array_split(stored[edge:-edge], 50), np.array_split(expected[edge:-edge], 50), strict=True)
    for part, sines in parts:
        strengths, *_ = np.linalg.lstsq(sines, part, rcond=None)
        assert abs(20 * np.log10(np.hypot(*strengths) / 0.8)) < 0.1
        rest = part - sines @ strengths
        assert 20 * np.log10(np.sqrt(2 * np.mean(rest**2))) < -80


@pytest.mark.parametrize(("native_hz", "rate_hz"), [rates for rates in RATES if rates[0] > rates[1]])
def test_a_sweep_above_what_the_rate_can_hold_leaves_nothing(
    tmp_path: Path, native_hz: int, rate_hz: int
) -> None:
    wave = faded(sweep(native_hz, 1.02 * rate_hz / 2, 0.99 * native_hz / 2)[:, 0], native_hz)
    stored = built(tmp_path, wave, native_hz, rate_hz)
    for part in np.array_split(stored, 50):
        assert 20 * np.log10(np.sqrt(2 * np.mean(part**2)) + 1e-12) < -80


def test_channels_in_opposition_cancel_in_the_store(tmp_path: Path) -> None:
    wave = sweep(44_100, 20, 9_900)[:, 0]
    assert not built(tmp_path, np.stack([wave, -wave], axis=1), 44_100, 22_050).any()


def test_16_khz_music_goes_into_a_16_khz_store_without_being_resampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import soxr

    song = mp3(music(48_000), 16_000)
    write_tree(tmp_path, [Clip(2, "0/song.mp3", audio=song)])
    monkeypatch.setattr(soxr, "resample", None)
    card = build("mtat", tmp_path, rate_hz=16_000, workers=1, out=tmp_path)
    shard = store.read_shard(tmp_path / "datasets" / "mtat" / card.shards[0].file, card.plan_id)
    with soundfile.SoundFile(io.BytesIO(song)) as file:
        assert (card.sample_rate_hz, file.samplerate) == (16_000, 16_000)
        decoded = file.read(dtype="float32")
    assert np.array_equal(shard.values, quantise(decoded[: len(shard.values)])[0])


def test_peaks_beyond_full_scale_are_clipped_not_wrapped_and_counted_in_the_store(tmp_path: Path) -> None:
    wave = 1.5 * sweep(22_050, 20, 2_000)[:, 0]
    write_tree(
        tmp_path, [Clip(2, "0/loud.mp3", audio=wav(wave)), Clip(3, "0/quiet.mp3", audio=wav(wave / 2))]
    )
    card = build("mtat", tmp_path, workers=1, out=tmp_path)
    folder = tmp_path / "datasets" / "mtat"
    shard = store.read_shard(folder / card.shards[0].file, card.plan_id)
    loud = shard.values[: len(wave)]
    assert card.clipped_clips == 1
    assert shard.clipped.tolist() == [int(np.count_nonzero(np.abs(np.rint(wave * 32768) + 0.5) > 32768)), 0]
    assert np.array_equal(np.sign(loud[np.abs(wave) > 0.01]), np.sign(wave[np.abs(wave) > 0.01]))
    assert (loud.max(), loud.min()) == (32767, -32768)
    columns, _ = store.read_index(folder / card.index.file, card.plan_id, card.index.bytes)
    assert columns["clipped_samples"] == shard.clipped.tolist()


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_blocks_are_the_whole_wave(
    tmp_path: Path, suffix: str, rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 10_000)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([music(100_000, 1), music(100_000, 2)], axis=1), 44_100)
    blocks = list(decode_blocks(path, rate_hz))
    assert len(blocks) >= 20
    assert all(block.dtype == np.float32 and 0 < len(block) <= 10_500 for block in blocks)
    whole = decode(path, rate_hz)
    assert np.concatenate(blocks).shape == whole.shape
    assert np.abs(np.concatenate(blocks) - whole).max() < 1e-6


def test_blocks_of_real_mp3s_go_on_where_the_last_one_stopped(
    test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 50_000)
    for path in sorted((test_data / "mtat-mini" / "mp3").rglob("*.mp3"))[:5]:
        if path.stat().st_size:
            blocks = list(decode_blocks(path, 22_050))
            assert len(blocks) > 10
            assert np.abs(np.concatenate(blocks) - decode(path, 22_050)).max() < 1e-5


def test_a_file_too_short_for_a_block_is_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", [0.5], 44_100)
    (block,) = decode_blocks(tmp_path / "click.wav", 22_050)
    assert np.array_equal(block, decode(tmp_path / "click.wav", 22_050))


def test_blocks_are_refused_as_the_whole_is(tmp_path: Path) -> None:
    nothing, noise, lies = tmp_path / "nothing.mp3", tmp_path / "noise.mp3", tmp_path / "lies.wav"
    nothing.write_bytes(b"")
    noise.write_bytes(b"no music at all" * 99)
    soundfile.write(lies, np.array([0.1, np.nan]), 22_050, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 22_050)
    for path in (tmp_path / "gone.wav", nothing, noise, lies, tmp_path / "none.wav"):
        with pytest.raises(AudioError) as whole:
            decode(path, 22_050)
        with pytest.raises(AudioError) as blocks:
            list(decode_blocks(path, 22_050))
        assert str(blocks.value) == str(whole.value)
