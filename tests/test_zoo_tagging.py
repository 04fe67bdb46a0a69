"""Many files through one network: what is written, what is reported, and how much memory it takes."""

# ruff: noqa: F811 (a fixture is asked for by the name under which it is imported)

import csv
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from made_music import NAMES, TAGS, checkpoint, music, tagger  # noqa: F401

import zoo
from datasets.audio import SUFFIXES, decode
from tests.m4a_files import encoded, tones
from zoo.__main__ import main
from zoo.trained.tagger import cut


def run(capsys, *words, code=0):
    assert main(["tag", *map(str, words)]) == code
    return capsys.readouterr()


@pytest.mark.parametrize("pieces", [[700], [1, 242, 457], [243, 243, 214], [100] * 7])
def test_segments_do_not_depend_on_how_a_wave_comes(pieces):
    wave = np.arange(700, dtype=np.float32)
    blocks = np.split(wave, np.cumsum(pieces)[:-1])
    assert np.array_equal(list(cut(blocks, 243)), wave[:486].reshape(2, 243))
    (only,) = cut(blocks, 701)
    assert np.array_equal(only, np.append(wave, 0))


def test_json_reads_back_as_what_the_tagger_says(tagger, checkpoint, music, capsys):
    shown = run(capsys, music, f"model={checkpoint}", "format=json", "top=4")
    found = json.loads(shown.out)
    assert [song["file"] for song in found] == [str(music / name) for name in NAMES]
    for song in found:
        assert song["tags"] == pytest.approx(tagger(song["file"]), abs=1e-6)
        assert list(song["tags"].values()) == sorted(song["tags"].values(), reverse=True)
    assert shown.err == ""


def test_csv_reads_back_as_what_the_tagger_says(tagger, checkpoint, music, capsys):
    shown = run(capsys, music / "d.ogg", music / "e.aiff", f"model={checkpoint}", "format=csv")
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert list(rows[0]) == ["file", "tag", "probability"]
    for name in ("d.ogg", "e.aiff"):
        found = {row["tag"]: float(row["probability"]) for row in rows if row["file"] == str(music / name)}
        assert found == pytest.approx(tagger(music / name), abs=1e-6)


def test_the_timeline_has_each_segment_at_its_second(tagger, checkpoint, music, capsys):
    song = music / "e.aiff"
    words = (song, f"model={checkpoint}", "timeline=true", "top=2")
    (record,) = json.loads(run(capsys, *words, "format=json").out)
    wave = decode(song, 22050)
    assert len(record["timeline"]) == len(wave) // 243
    for place, segment in enumerate(record["timeline"]):
        assert segment["start_seconds"] == pytest.approx(place * 243 / 22050)
        said = dict(zip(TAGS, tagger.score(wave[place * 243 : (place + 1) * 243]), strict=True))
        assert segment["tags"] == pytest.approx({tag: said[tag] for tag in record["tags"]}, abs=1e-5)
    whole = {tag: np.mean([segment["tags"][tag] for segment in record["timeline"]]) for tag in record["tags"]}
    assert record["tags"] == pytest.approx(whole, abs=1e-6)
    rows = list(csv.DictReader(io.StringIO(run(capsys, *words, "format=csv").out)))
    told = [(float(row["start_seconds"]), row["tag"], float(row["probability"])) for row in rows]
    assert told == [(s["start_seconds"], t, p) for s in record["timeline"] for t, p in s["tags"].items()]
    head, *lines = run(capsys, *words).out.splitlines()
    assert head.split() == ["file", "start_seconds", "tag", "probability"]
    assert len(lines) == len(rows)


@pytest.mark.parametrize(
    ("style", "nothing"), [("json", "[]\n"), ("csv", "file,tag,probability\n"), ("table", "")]
)
def test_where_nothing_could_be_tagged_the_formats_still_read_back(checkpoint, capsys, style, nothing):
    shown = run(capsys, "gone.mp3", f"model={checkpoint}", f"format={style}", code=1)
    assert shown.out == nothing
    assert shown.err == "gone.mp3 is missing: there is no such file\n"


def test_broken_files_in_a_folder_are_named_a_line_each(checkpoint, music, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.wav").write_bytes((music / "album/a.wav").read_bytes())
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "noise.flac").write_bytes(b"noise" * 100)
    shown = run(capsys, folder, f"model={checkpoint}", "format=json", code=1)
    assert [song["file"] for song in json.loads(shown.out)] == [str(folder / "good.wav")]
    empty, noise = shown.err.splitlines()
    assert empty == f"{folder / 'empty.mp3'} is empty: the file has no bytes"
    assert noise.startswith(f"{folder / 'noise.flac'} is undecodable: ")


def test_a_folder_without_audio_is_refused(checkpoint, tmp_path, capsys):
    shown = run(capsys, tmp_path, f"model={checkpoint}", code=2)
    assert shown.err.startswith(f"{tmp_path} holds no audio; files that end in .wav, .flac,")


def test_names_that_are_no_text_are_written(checkpoint, music, tmp_path, capsys):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n\x1b.wav")
    with open(odd, "wb") as file:  # noqa: PTH123  (a name of bytes)
        file.write((music / "album/a.wav").read_bytes())
    (record,) = json.loads(run(capsys, odd, f"model={checkpoint}", "format=json").out)
    assert record["file"].endswith("\\udcff\n\x1b.wav")
    lines = run(capsys, odd, f"model={checkpoint}", "top=1").out.splitlines()
    assert len(lines) == 2, "a name cannot break the table"
    assert "\\udcff??.wav" in lines[1]


def test_many_files_tell_how_far_they_are(checkpoint, music, capsys):
    shown = run(capsys, *[music / "album/a.wav"] * 20, f"model={checkpoint}", "format=json")
    assert len(json.loads(shown.out)) == 20
    lines = shown.err.splitlines()
    assert lines[-1] == "tagging: 20 of 20 files"
    assert len(lines) == 11


HOUR = """
import resource, sys
from zoo.__main__ import main

code = main(["tag", sys.argv[1], "model=" + sys.argv[2], "format=csv", "top=1"])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_an_hour_takes_little_more_memory_than_a_minute(tmp_path):
    network = zoo.create("samplecnn_m3_n3_s729", n_tags=len(TAGS))
    zoo.save(network, tmp_path / "checkpoint", zoo.Card.of(network, TAGS))
    peaks = {}
    for name, seconds in (("minute", 60), ("hour", 3600)):
        path = tmp_path / f"{name}.wav"
        with soundfile.SoundFile(path, "w", 16000, 2, "PCM_16") as file:
            second = np.random.default_rng(1).integers(-9000, 9000, (16000, 2)).astype(np.int16)
            for _ in range(seconds):
                file.write(second)
        done = subprocess.run(
            [sys.executable, "-c", HOUR, str(path), str(tmp_path / "checkpoint")],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        code, peak = done.stdout.splitlines()[-1].split()
        assert code == "0"
        peaks[name] = int(peak) / 1024
    # An hour is 303 MiB as mono floats at 22,050 Hz, and 440 MiB as the file has it.
    assert peaks["hour"] - peaks["minute"] < 64, peaks


def test_ctrl_c_ends_with_130(checkpoint, tmp_path):
    long = tmp_path / "endless.wav"
    soundfile.write(long, np.random.default_rng(0).uniform(-1, 1, 22050 * 60), 22050)
    words = ["tag", *[str(long)] * 500, f"model={checkpoint}", "format=csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have them ignore Ctrl-C, which a child would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # the titles: it is at work
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said


def test_what_is_built_from_can_be_tagged_too(tagger, checkpoint, tmp_path, capsys):
    """One list of formats: a folder of m4a and mp3 is tagged whole."""
    song = encoded(tmp_path / "a.m4a", tones(), "aac")
    soundfile.write(tmp_path / "b.mp3", tones()[0], 44100)
    found = json.loads(run(capsys, tmp_path, f"model={checkpoint}", "format=json", "top=4").out)
    assert [song["file"] for song in found] == [str(tmp_path / "a.m4a"), str(tmp_path / "b.mp3")]
    assert found[0]["tags"] == pytest.approx(
        dict(zip(TAGS, tagger.score(decode(song, 22050)), strict=True)), abs=1e-6
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_each_suffix_is_decoded(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"
    if suffix == ".m4a":
        encoded(file, tones(), "alac")
    else:
        kind = {".oga": "OGG", ".opus": "OGG", ".aif": "AIFF"}.get(suffix)
        subtype = "OPUS" if suffix == ".opus" else None
        rate = 48000 if suffix == ".opus" else 44100
        soundfile.write(file, tones().T, rate, format=kind, subtype=subtype)
    assert len(decode(file, 22050)) >= 40_000
