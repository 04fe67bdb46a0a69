"""Building: the words, the report, and that no interruption changes a byte."""

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from mtat_tree import Clip, music, wav, write_tree

import datasets
from datasets import build as building
from datasets import demo, mtat, shards
from datasets.build import build, main
from datasets.cards import Card, parse
from datasets.errors import DatasetError
from datasets.recipe import of_your_own, recipe_names

COMMAND = [sys.executable, "-m", "datasets.build"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """193 clips of half a second, hence three full shards and one of a single clip."""
    waves = [music(11_025, seed) for seed in range(193)]
    clips = [Clip(i, f"{'0c'[i % 2]}/{i}.mp3", ("rock",) if i % 3 else (), waves[i]) for i in range(193)]
    return write_tree(tmp_path_factory.mktemp("tree"), clips)


@pytest.fixture(scope="module")
def undisturbed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a build of the tree writes when nothing happens."""
    home = tmp_path_factory.mktemp("undisturbed")
    build("mtat", tree, workers=1, out=home)
    return content(home)


def content(home: Path) -> dict[str, bytes]:
    """Every file of the store with its bytes."""
    folder = home / "datasets" / "mtat"
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def shard_files(home: Path) -> list[Path]:
    return sorted((home / "datasets" / "mtat").glob("shards-*/0*.arrow"))


def skipped(home: Path) -> list[dict[str, str]]:
    with (home / "datasets" / "mtat" / "skipped.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_the_number_of_workers_changes_no_byte(
    tree: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    build("mtat", tree, workers=2, out=tmp_path)
    assert content(tmp_path) == undisturbed


def test_building_again_changes_no_byte_and_decodes_nothing(
    tree: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("mtat", tree, workers=1, out=tmp_path)
    monkeypatch.setattr(mtat, "decode", None)
    build("mtat", tree, workers=1, out=tmp_path)
    assert content(tmp_path) == undisturbed


@pytest.mark.parametrize("after", [0, 70, 130])
def test_ctrl_c_keeps_the_finished_shards_and_the_next_build_ends_in_the_same_bytes(
    tree: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    decoded = []

    def interrupted(*words: object) -> np.ndarray:
        decoded.append(words)
        if len(decoded) > after:
            raise KeyboardInterrupt
        return whole(*words)

    whole = mtat.decode
    monkeypatch.setattr(mtat, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build("mtat", tree, workers=1, out=tmp_path)
    assert len(shard_files(tmp_path)) == after // 64
    assert not (tmp_path / "datasets" / "mtat" / "card.json").exists()
    monkeypatch.setattr(mtat, "decode", whole)
    build("mtat", tree, workers=1, out=tmp_path)
    assert content(tmp_path) == undisturbed


def test_ctrl_c_ends_with_130_and_the_command_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(*words: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "build", interrupted)
    assert main(["name=mtat", "source=/my music"]) == 130
    expected = "interrupted; to go on: python -m datasets.build name=mtat 'source=/my music'\n"
    assert capsys.readouterr().err == expected


def test_shards_of_other_settings_are_not_taken_for_ones_own(tree: Path, tmp_path: Path) -> None:
    first = build("mtat", tree, workers=1, out=tmp_path)
    files = shard_files(tmp_path)
    second = build("mtat", tree, rate_hz=16_000, workers=1, out=tmp_path)
    assert first.fingerprint != second.fingerprint
    assert second.sample_rate_hz == 16_000
    assert not any(file.exists() for file in files)


def test_a_shard_of_another_plan_under_the_right_name_is_made_again(
    tree: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    build("mtat", tree, workers=1, out=tmp_path / "other", rate_hz=16_000)
    build("mtat", tree, workers=1, out=tmp_path)
    foreign, own = shard_files(tmp_path / "other")[0], shard_files(tmp_path)[0]
    own.write_bytes(foreign.read_bytes())
    build("mtat", tree, workers=1, out=tmp_path)
    assert content(tmp_path) == undisturbed


def test_corrected_labels_decode_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [Clip(i, f"0/{i}.mp3", ("rock",), music(2_000, i)) for i in range(3)]
    source = write_tree(tmp_path / "source", clips)
    first = build("mtat", source, workers=1, out=tmp_path)
    write_tree(source, [clip._replace(tags=("slow",), audio=None) for clip in clips])
    monkeypatch.setattr(mtat, "decode", None)
    second = build("mtat", source, workers=1, out=tmp_path)
    assert first.shards == second.shards
    assert first.fingerprint != second.fingerprint


def test_a_file_that_is_not_audio_costs_that_clip_alone_and_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    good = music(5_000)
    clips = [
        Clip(2, "0/good.mp3", ("rock",), good),
        Clip(3, "0/text.mp3", ("rock",), b"this is no music at all"),
        Clip(4, "c/nothing.mp3", ("rock",), b""),
        Clip(5, "d/lost.mp3", ("rock",), None),
        Clip(6, "d/untagged.mp3", (), good),
        Clip(7, "d/too-loud.mp3", ("rock",), np.full(5_000, 1.5, np.float32)),
    ]
    assert main(["name=mtat", f"source={write_tree(tmp_path, clips)}", "workers=1", f"out={tmp_path}"]) == 0
    assert [(row["clip_id"], row["path"], row["reason"], row["detail"]) for row in skipped(tmp_path)] == [
        ("4", "c/nothing.mp3", "empty", "the file has no bytes"),
        ("5", "d/lost.mp3", "missing", "there is no such file"),
        ("3", "0/text.mp3", "undecodable", "no audio is found in it"),
    ]
    folder = tmp_path / "datasets" / "mtat"
    built = parse((folder / "card.json").read_text(), folder)
    assert capsys.readouterr().err.splitlines()[-8:] == [
        f"mtat: 3 clips, 0.00 hours at 22050 Hz, 50 tags (1 without any of them), "
        f"fingerprint {built.fingerprint}, in {folder}",
        f"skipped: 1 empty, 1 missing, 1 undecodable; each is named in {folder / 'skipped.csv'}",
        "clips with peaks beyond full scale, which were clipped to it: 1",
        "split paper: train 1 of 2, valid 0 of 1, test 1 of 2",
        "split all: train 1 of 2, valid 0 of 1, test 2 of 3",
        "split tagged: train 1 of 2, valid 0 of 1, test 1 of 2",
        "warning: valid has 0 clips; 0 of 50 tags have both classes there: it can't tell networks apart",
        "warning: test has 1 clip; 0 of 50 tags have both classes there: it can't tell networks apart",
    ]


def test_peaks_beyond_full_scale_are_clipped_never_wrapped_and_counted() -> None:
    wave = np.array([0, 0.5, 1.0, 1.5, -1.0, -1.5, 32767 / 32768], np.float32)
    samples, beyond = shards.quantise(wave)
    assert samples.tolist() == [0, 16384, 32767, 32767, -32768, -32768, 32767]
    assert beyond == 3


def test_a_long_clip_is_cut_to_29_1_seconds(tmp_path: Path) -> None:
    write_tree(tmp_path, [Clip(2, "0/a.mp3", audio=wav(music(16_000 * 30), 16_000))])
    assert build("mtat", tmp_path, workers=1, out=tmp_path).clip_samples == 641_655


def test_the_card_tells_what_was_built(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build("mtat", tree, workers=1, out=tmp_path)
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    card = datasets.card("mtat")
    assert card == built
    assert isinstance(card, Card)
    assert card.conventions["all"] == {"train": 97, "valid": 96, "test": 0}
    assert (card.default_convention, card.segmented_samples, card.clips) == ("paper", 640_000, 193)
    assert card.hours == round(193 * 0.5 / 3600, 4)
    assert "CC BY-NC-SA" in card.licence
    assert "ISMIR 2009" in card.citation
    assert len(card.shards) == 4


def test_nothing_is_built_from_a_source_without_audio(tmp_path: Path) -> None:
    write_tree(tmp_path, [Clip(2, "0/a.mp3")])
    with pytest.raises(DatasetError, match=r"none of the 1 clips of mtat has audio in "):
        build("mtat", tmp_path, out=tmp_path)


def test_of_two_builds_into_one_target_the_second_is_refused(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "mtat"
    with building._only_builder(folder, False, print), pytest.raises(DatasetError) as refusal:
        build("mtat", tree, workers=1, out=tmp_path)
    assert str(refusal.value) == f"another process is building {folder}; wait for it or give out="


def test_one_that_waits_for_the_other_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "N_CLIPS", 8)
    said = Queue[str]()
    with ThreadPoolExecutor() as pool:
        with building._only_builder(tmp_path / "datasets" / "demo", False, print):
            waiting = pool.submit(build, "demo", workers=1, say=said.put, wait=True)
            assert said.get(timeout=30) == "waiting for another process that builds demo"
        assert waiting.result().clips == 8


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["nmae=mtat"], "'nmae=mtat' is no word of this command; did you mean name or rate? (see --help)"),
        (["mtat"], "'mtat' is no word of this command; did you mean rate? (see --help)"),
        (["name"], "'name' has no value; write name=..."),
        (["name="], "'name=' has no value; write name=..."),
        (["name=mtat", "name=demo"], "name= is given twice; once is enough"),
        (["source=/music"], f"which data set? write name=...; known: {', '.join(recipe_names())}"),
        (
            ["name=mtatt"],
            f"no data set is called 'mtatt'; did you mean mtat? ({of_your_own()})",
        ),
        (["name=demo", "rate=fast"], "rate=fast: give a whole number from 1, or auto"),
        (["name=demo", "seconds_per_clip=0"], "seconds_per_clip=0: give a whole number from 1, or auto"),
        (["name=demo", "workers=0"], "workers=0: give a whole number from 1, or auto"),
        (["name=demo", "rate=100"], "rate=100: give a sample rate of 4000 to 192000 Hz"),
        (["name=mtat"], "mtat is read from its files: python -m datasets.build name=mtat source=FOLDER"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture, words: list[str], refusal: str
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == refusal + "\n"


def test_help_shows_the_words_and_the_data_sets(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m datasets.build name=mtat source=/music/mtat" in text
    assert f"Data sets: {', '.join(recipe_names())}\n" in text


def test_the_command_line_ends_with_its_exit_code(tmp_path: Path) -> None:
    environment = {**os.environ, "WAVEZOO_HOME": str(tmp_path)}
    ended = subprocess.run([*COMMAND, "nam=x"], capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_real_clips_become_29_seconds_each(test_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in (test_data / "mtat-mini" / "ci_subset.txt").read_text().split()[:4]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).symlink_to(test_data / "mtat-mini" / "mp3" / path)
    annotations = test_data / "mtat-mini" / "annotations_final.csv"
    (source / "annotations_final.csv").symlink_to(annotations)
    card = build("mtat", source, workers=1, out=tmp_path)
    assert (card.clips, card.clip_samples, card.skipped) == (4, 641_655, {"missing": 303})


def test_a_plan_whose_labels_do_not_fit_is_refused(tree: Path) -> None:
    plan = mtat.plan(tree, 22_050)
    with pytest.raises(DatasetError, match=r"labels of mtat are uint8 \(193, 50\); wanted uint8 \(193, 49\)"):
        replace(plan, tags=plan.tags[:-1])
    with pytest.raises(DatasetError, match="a tag of mtat is listed twice; tags are addressed by name"):
        replace(plan, tags=(*plan.tags[:-1], plan.tags[0]))


def test_a_shard_without_a_single_good_clip_is_a_shard_all_the_same(tmp_path: Path) -> None:
    clips = [Clip(100 + i, f"0/{i}.mp3", audio=music(2_000) if i < 64 else b"no music") for i in range(66)]
    card = build("mtat", write_tree(tmp_path, clips), workers=1, out=tmp_path)
    assert (card.clips, len(card.shards), card.skipped) == (64, 2, {"undecodable": 2})
    assert build("mtat", tmp_path, workers=1, out=tmp_path) == card
