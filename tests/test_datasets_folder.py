"""Your own music and a CSV: a store of any name, how it is split, and what is made of long and broken files."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtat_tree import music, wav
from own_music import HEADER, ROWS, refusal, table, tree

import datasets
from datasets import build as building
from datasets import folder
from datasets.build import build, main
from datasets.errors import DatasetError
from datasets.folder import plan, split_by_artist
from datasets.recipe import recipe_names
from search.planning import data
from search.words import read_words


def test_a_folder_and_a_table_become_a_store_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    source = tree(tmp_path / "music")
    file = table(tmp_path, *ROWS)
    assert main(["name=folder", f"source={source}", f"csv={file}", "called=mymusic", "workers=1"]) == 0
    card = datasets.card("mymusic")
    assert (card.name, card.recipe, card.tags, card.clips) == ("mymusic", "folder", ("rock", "slow"), 3)
    assert card.conventions == {"given": {"train": 1, "valid": 1, "test": 1}}
    train, test = datasets.open("mymusic", "train", 1_000), datasets.open("mymusic", "test", 1_000)
    assert (train.clip_ids, train.artists, train.labels.tolist()) == (["a.wav"], ["Ann"], [[1, 1]])
    assert test.labels.tolist() == [[0, 0]]
    assert "mymusic" in datasets.names()
    assert datasets.is_built("mymusic")
    assert not datasets.is_built("folder")
    found = data.find(read_words(["dataset=mymusic", "budget=small"]))
    assert (found.name, found.fingerprint, found.tags) == ("mymusic", card.fingerprint, 2)


def test_the_name_of_a_store_changes_nothing_else(tmp_path: Path) -> None:
    source = table(tree(tmp_path), *ROWS).parent
    first = build("folder", source, workers=1, out=tmp_path / "home", words={"called": "one"})
    second = build("folder", source, workers=1, out=tmp_path / "home", words={"called": "two"})
    assert (first.name, second.name) == ("one", "two")
    assert (first.fingerprint, first.shards) == (second.fingerprint, second.shards)


def test_an_unknown_name_has_the_stores_among_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    source = table(tree(tmp_path), *ROWS).parent
    build("folder", source, workers=1, words={"called": "mymusic", "split": "artist"})
    with pytest.raises(DatasetError, match=r"no data set is called 'mymusc'; did you mean mymusic\?"):
        datasets.open("mymusc")
    with pytest.raises(DatasetError) as refused:
        build("mymusic", tmp_path)
    assert str(refused.value) == (
        "mymusic is what a store is called; to build it again: "
        "python -m datasets.build name=folder source=FOLDER csv=FILE split=artist called=mymusic"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["name=folder", "cvs=a"], "'cvs=a' is no word of this command; did you mean csv? (see --help)"),
        (["name=demo", "csv=a"], "csv= is a word of name=folder, not of name=demo"),
        (["csv=a"], f"which data set? write name=...; known: {', '.join(recipe_names())}"),
        (["name=folder"], f"your own music is read from its files: {folder.DATASET.command}"),
        (
            ["name=folder", "called=../up"],
            "called=../up: give up to 100 letters, digits, dots, dashes and underscores",
        ),
        (
            ["name=folder", "called=auto"],
            "called=auto: dataset=auto of a search means mtat or demo; choose another name",
        ),
        (["name=folder", "called=mtat"], "called=mtat: that is a data set of its own; choose another name"),
        (["name=folder", "split=random"], "split=random: known: artist, auto, given"),
        (["name=folder", "missing=skp"], "missing=skp: did you mean skip?"),
        (["name=folder", "seconds=lots"], "seconds=lots: give how much of a clip is stored, 0.1 to 3600"),
        (["name=folder", "seconds=nan"], "seconds=nan: give how much of a clip is stored, 0.1 to 3600"),
        (
            ["name=folder", "source=/no-such"],
            "source=/no-such is no folder; give the one that the paths of the CSV",
        ),
    ],
)
def test_wrong_words_are_one_line(capsys: pytest.CaptureFixture, words: list[str], said: str) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_words_of_another_recipe_are_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"name=folder has no word 'secs'; did you mean seconds or csv\?"):
        build("folder", tmp_path, words={"secs": "5", "csv": "a"})
    with pytest.raises(DatasetError, match=r"name=demo has no word 'csv'; nor any other of its own"):
        build("demo", words={"csv": "a"})


def test_help_lists_the_words_of_each_data_set(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Words of name=folder:\n    csv=...         columns path, tags and," in text
    assert "Words of name=demo" not in text


@pytest.mark.parametrize("splits", [("train", "train", "test"), ("test", "test", "test")])
def test_a_split_without_clips_is_refused(tmp_path: Path, splits: tuple[str, ...]) -> None:
    names = ("a.wav", "b.wav", "sub/c.wav")
    file = table(
        tree(tmp_path), *(f"{name},rock,{split},A" for name, split in zip(names, splits, strict=True))
    )
    empty = " and ".join(name for name in ("train", "valid", "test") if name not in splits)
    assert refusal(tmp_path) == f"{file}: no clip is in {empty}; a split column has all three in it"


def test_a_table_without_any_tag_is_refused(tmp_path: Path) -> None:
    file = table(tree(tmp_path), "a.wav,,train,A", "b.wav,;,valid,B", "sub/c.wav,|,test,C")
    assert refusal(tmp_path) == f"{file}: no clip has a tag; there is nothing to learn"


def test_a_rate_is_compared_with_the_files_own_and_not_used_otherwise(tmp_path: Path) -> None:
    header = "path,tags,rate"
    file = table(tree(tmp_path), "a.wav,rock,22050", "b.wav,rock,", "sub/c.wav,rock,22050", header=header)
    assert len(plan(tmp_path, 16_000).clips) == 3
    table(tmp_path, "a.wav,rock,22050", "b.wav,rock,44100", "sub/c.wav,rock,44.1k", header=header)
    said = refusal(tmp_path).removeprefix(f"{file} has 2 problems:\n").splitlines()
    assert said == [
        "  line 3: b.wav has 22050 Hz, its rate column says 44100",
        "  line 4: rate '44.1k'; wanted the file's whole Hz, such as 44100",
    ]


def test_an_artist_on_two_sides_of_a_given_split_is_said_with_counts(tmp_path: Path) -> None:
    names = ("a.wav", "b.wav", "c.wav", "d.wav", "e.wav")
    rows = ("a.wav,x,train,Ann", "b.wav,x,test,ANN", "c.wav,x,valid,Bob", "d.wav,x,test,", "e.wav,x,train,")
    table(tree(tmp_path, names), *rows)
    assert plan(tmp_path, 22_050).notes == (
        "1 of 2 artists are on more than one side (train+test 1): scores will be better than on unknown artists; "
        "split=artist splits anew",
    )
    anew = plan(tmp_path, 22_050, split="artist")
    assert anew.conventions == ("artist",)
    assert anew.notes == ("split by artist: 4 artists (2 of them clips that name none), none on two sides",)


def test_an_artist_is_one_whatever_case_it_is_written_in(tmp_path: Path) -> None:
    names = ("a.wav", "b.wav", "c.wav", "d.wav")
    rows = ("a.wav,x,train,Ann", "b.wav,x,test,ANN", "c.wav,x,valid,Bob", "d.wav,x,train,Ann")
    table(tree(tmp_path, names), *rows)
    assert [clip.artist for clip in plan(tmp_path, 22_050).clips] == ["Ann", "Ann", "Bob", "Ann"]


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    table(tree(tmp_path), *(f"{row},1999," for row in ROWS), header=f"{HEADER},year,")
    assert plan(tmp_path, 22_050).notes == (f"{tmp_path}/tags.csv: not read: the column year",)


def test_a_given_split_needs_its_column_and_three_sides_need_three_artists(tmp_path: Path) -> None:
    file = table(tree(tmp_path), "a.wav,x,A", "b.wav,x,A", "sub/c.wav,x,a", header="path,tags,artist")
    assert refusal(tmp_path, split="given") == f"{file} line 1: split=given, but there is no column split"
    assert refusal(tmp_path) == "1 artist: three splits need three; add a column split or artist"


@given(st.dictionaries(st.text(max_size=8), st.integers(1, 40), min_size=3, max_size=60), st.randoms())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_a_split_by_artist_depends_on_the_artists_alone_and_fills_all_sides(clips: dict, random) -> None:
    splits = split_by_artist(clips)
    shuffled = list(clips.items())
    random.shuffle(shuffled)
    assert split_by_artist(dict(shuffled)) == splits
    assert set(splits) == set(clips)
    assert set(splits.values()) == {"train", "valid", "test"}


@given(st.lists(st.integers(1, 12), min_size=100, max_size=300))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_a_split_by_artist_comes_near_12_1_3(sizes: list[int]) -> None:
    clips = {f"artist {number}": size for number, size in enumerate(sizes)}
    have = Counter()
    for artist, side in split_by_artist(clips).items():
        have[side] += clips[artist]
    for side, share in folder.SHARES.items():
        assert abs(have[side] - sum(sizes) * share / 16) <= max(sizes)


def test_longer_clips_are_cut_and_shorter_ones_stay(tmp_path: Path) -> None:
    table(tree(tmp_path, seconds=0.3), *ROWS)
    (tmp_path / "b.wav").write_bytes(wav(music(500)))
    card = build("folder", tmp_path, workers=1, out=tmp_path, words={"seconds": "0.25"})
    assert (card.clip_samples, card.segmented_samples) == (5_512, None)
    assert card.hours == round((5_512 * 2 + 500) / 22_050 / 3600, 4)


def test_songs_of_ten_minutes_make_shards_of_few(tmp_path: Path) -> None:
    table(tree(tmp_path), *ROWS)
    assert plan(tmp_path, 22_050).clips_per_shard == 64
    assert plan(tmp_path, 22_050, seconds="600").clips_per_shard == 4


def test_a_broken_m4a_costs_that_clip_alone(tmp_path: Path) -> None:
    table(tree(tmp_path), *ROWS, "d.m4a,rock,train,Ann")
    (tmp_path / "d.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    build("folder", tmp_path, workers=1, out=tmp_path)
    with (tmp_path / "datasets" / "folder" / building.SKIPPED_FILE).open() as lines:
        (row,) = csv.DictReader(lines)
    assert (row["path"], row["reason"]) == ("d.m4a", "undecodable")


def test_the_13_tags_of_real_recordings_are_built_and_opened(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    with (test_data / "mtat-mini" / "clips.csv").open(encoding="utf-8", newline="") as lines:
        clips = list(csv.DictReader(lines))
    with (tmp_path / "emotions.csv").open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("path", "tags", "artist", "rate"))
        rows.writerows((clip["mp3_path"], clip["tags_emotify"], clip["artist"], 16_000) for clip in clips)
    source = test_data / "mtat-mini" / "mp3"
    words = {"csv": str(tmp_path / "emotions.csv"), "called": "emotions", "seconds": "5"}
    card = build("folder", source, rate_hz=16_000, workers=2, words=words)
    assert (card.clips, len(card.tags), card.skipped) == (307, 13, {})
    splits = {name: datasets.open("emotions", name, 16_000) for name in ("train", "valid", "test")}
    artists = [set(split.artists) for split in splits.values()]
    assert sum(map(len, artists)) == len(set.union(*artists)) == 71
    assert [split.n_clips for split in splits.values()] == pytest.approx([230, 19, 58], abs=12)
    wave, tags = next(splits["train"].batches(8, seed=0, epoch=0))
    assert (wave.shape, tags.shape) == ((8, 16_000), (8, 13))
    assert float(wave.abs().max()) > 0
