"""m4a: what Apple's programs and telephones record, AAC or ALAC in one container."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datasets.errors import AudioError
from datasets.m4a import decode_m4a

RATE_HZ = 44_100


def encoded(file: Path, channels: np.ndarray, codec: str) -> Path:
    """Write (channels, samples) float32 at 44.1 kHz by FFmpeg's own encoder."""
    with av.open(str(file), "w", format="ipod") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout="stereo" if len(channels) == 2 else "mono")
        planar = {"aac": "fltp", "alac": "s16p"}[codec]
        samples = channels if codec == "aac" else np.round(channels * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), planar, stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file


def tones(seconds: float = 2.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.stack([0.5 * np.sin(2 * np.pi * hz * times) for hz in (440, 1760)]).astype(np.float32)


def test_alac_is_the_mean_of_its_channels_to_the_last_of_its_bits(tmp_path: Path) -> None:
    stereo = tones()
    wave = decode_m4a(encoded(tmp_path / "a.m4a", stereo, "alac"), RATE_HZ, 1.5)
    assert (wave.dtype, len(wave)) == (np.float32, round(1.5 * RATE_HZ))
    assert np.abs(wave - stereo.mean(axis=0)[: len(wave)]).max() < 1e-4


def test_aac_keeps_its_tones_and_their_place_at_another_rate(tmp_path: Path) -> None:
    wave = decode_m4a(encoded(tmp_path / "a.m4a", tones(), "aac"), 22_050, 1.5)
    assert len(wave) == round(1.5 * 22_050)
    times = np.arange(len(wave)) / 22_050
    wanted = 0.25 * (np.sin(2 * np.pi * 440 * times) + np.sin(2 * np.pi * 1760 * times))
    inner = slice(4_000, -4_000)
    assert np.sqrt(np.mean((wave - wanted)[inner] ** 2)) < 0.02  # the coder's own noise, and no delay


def test_a_short_song_is_as_long_as_it_is(tmp_path: Path) -> None:
    wave = decode_m4a(encoded(tmp_path / "a.m4a", tones(0.5)[:1], "alac"), RATE_HZ, 29.1)
    assert len(wave) == RATE_HZ // 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing: there is no such file"),
        (b"", "is empty: the file has no bytes"),
        (b"no music", "is undecodable: invalid data found when processing input"),
        (b"\0\0\0\x20ftypM4A ", "is undecodable: invalid data found when processing input"),
    ],
)
def test_what_is_no_music_is_refused_in_words(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.m4a"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AudioError) as refused:
        decode_m4a(file, 22_050, 1.0)
    assert str(refused.value) == f"{file} {said}"


def test_a_song_cut_in_its_middle_is_refused_or_shorter_never_a_trace(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "a.m4a", tones(), "aac").read_bytes()
    for cut in range(100, len(whole), len(whole) // 7):
        (tmp_path / "b.m4a").write_bytes(whole[:cut])
        with pytest.raises(AudioError, match=r"is (undecodable|empty)"):
            decode_m4a(tmp_path / "b.m4a", 22_050, 2.0)
