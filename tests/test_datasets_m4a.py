"""m4a: what Apple's programs and telephones record, AAC or ALAC in one container."""

from pathlib import Path

import av
import numpy as np
import pytest

from datasets.audio import decode, decode_blocks
from datasets.errors import AudioError
from tests.m4a_files import RATE_HZ, encoded, tones


def test_alac_is_the_mean_of_its_channels_to_the_last_of_its_bits(tmp_path: Path) -> None:
    stereo = tones()
    wave = decode(encoded(tmp_path / "a.m4a", stereo, "alac"), RATE_HZ, 1.5)
    assert (wave.dtype, len(wave)) == (np.float32, round(1.5 * RATE_HZ))
    assert np.abs(wave - stereo.mean(axis=0)[: len(wave)]).max() < 1e-4


def test_aac_keeps_its_tones_and_their_place_at_another_rate(tmp_path: Path) -> None:
    wave = decode(encoded(tmp_path / "a.m4a", tones(), "aac"), 22_050, 1.5)
    assert len(wave) == round(1.5 * 22_050)
    times = np.arange(len(wave)) / 22_050
    wanted = 0.25 * (np.sin(2 * np.pi * 440 * times) + np.sin(2 * np.pi * 1760 * times))
    inner = slice(4_000, -4_000)
    assert np.sqrt(np.mean((wave - wanted)[inner] ** 2)) < 0.02  # the coder's own noise, and no delay


def test_a_short_song_is_as_long_as_it_is(tmp_path: Path) -> None:
    wave = decode(encoded(tmp_path / "a.m4a", tones(0.5)[:1], "alac"), RATE_HZ, 29.1)
    assert len(wave) == RATE_HZ // 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing: there is no such file"),
        (b"", "is empty: the file has no bytes"),
        (b"no music", "is undecodable: invalid data found when processing input"),
        (b"\0\0\0\x20ftypM4A ", "is undecodable: invalid data found when processing input"),
        (
            b"ffconcat version 1.0\nfile beside.m4a\n",
            "is undecodable: invalid argument",
        ),
    ],
)
def test_what_is_no_music_is_refused_in_words(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.m4a"
    encoded(tmp_path / "beside.m4a", tones(), "aac")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AudioError) as refused:
        decode(file, 22_050, 1.0)
    assert str(refused.value) == f"{file} {said}"


def test_a_song_cut_in_its_middle_is_refused_or_shorter_never_a_trace(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "a.m4a", tones(), "aac").read_bytes()
    for cut in range(100, len(whole), len(whole) // 7):
        (tmp_path / "b.m4a").write_bytes(whole[:cut])
        with pytest.raises(AudioError, match=r"is (undecodable|empty)"):
            decode(tmp_path / "b.m4a", 22_050, 2.0)


def test_an_m4a_comes_in_blocks_as_it_comes_whole(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.m4a", tones(), "aac")
    blocks = list(decode_blocks(file, 22_050))
    whole = decode(file, 22_050)
    assert len(blocks) > 1
    assert np.abs(np.concatenate(blocks) - whole).max() < 1e-6
    assert len(whole) >= 2 * 22_050


def test_an_m4a_is_known_by_how_it_begins_where_its_name_is_gone(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.m4a", tones(), "alac")
    nameless = tmp_path / "0123456789abcdef"
    nameless.write_bytes(file.read_bytes())
    assert np.array_equal(decode(nameless, RATE_HZ), decode(file, RATE_HZ))


def test_a_film_without_sound_is_refused_without_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.m4a"
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(AudioError) as refused:
        decode(file, 22_050, 1.0)
    assert refused.value.detail == "no audio is found in it"
