"""The Million Song Dataset: the public lists, Last.fm's tags, and whatever clips there are."""

import csv
import gzip
import io
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mtat_tree import mp3, music, wav

import datasets
from datasets import msd, msd_files
from datasets.build import build, main
from datasets.errors import DatasetError
from datasets.msd import PUBLISHED, plan
from datasets.msd_files import Lists, find_clips, read_database, read_labels, read_lists
from datasets.recipe import SPLITS

SIZES = {"train": 6, "valid": 4, "test": 5}


@pytest.fixture(scope="module")
def real(test_data: Path) -> Path:
    return test_data / "msd-lastfm-split"


@pytest.fixture(scope="module")
def complete(real: Path) -> Lists:
    """The public lists, 242,854 clips."""
    return read_lists(real)


@pytest.fixture
def lists(complete: Lists, tmp_path: Path) -> Path:
    """The first few clips of each public list, with their ids and labels, in the same format."""
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "50tagList.txt").write_text("\n".join(complete.tags) + "\n")
    for split, n in SIZES.items():
        write(folder / f"{split}_x_msd_id.txt", complete.track_ids[split][:n])
        write(folder / f"{split}_x_7d_id.txt.gz", complete.shop_ids[split][:n])
        if split != "train":
            np.savez_compressed(folder / f"{split}_y.npz", y=complete.labels[split][:n].astype(bool))
            write(folder / f"author_filtered_{split}_msd_id.txt.gz", complete.track_ids[split][1:n])
    return folder


@pytest.fixture
def clips(complete: Lists, tmp_path: Path) -> Path:
    """A clip for every id of `lists`: mp3 as they are distributed, but for two of another container and place."""
    folder = tmp_path / "clips"
    for split, n in SIZES.items():
        for number, shop in enumerate(complete.shop_ids[split][:n]):
            file = folder / shop[0] / shop[1] / f"{shop}.clip.mp3"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(mp3(music(22_050, number), 22_050))
    first, second = complete.shop_ids["train"][:2], complete.track_ids["train"][:2]
    (folder / "elsewhere" / "deep").mkdir(parents=True)
    file_of(folder, first[0]).unlink()
    (folder / "elsewhere" / "deep" / f"{first[0]}.WAV").write_bytes(wav(music(5_000)))
    file_of(folder, first[1]).unlink()
    soundfile.write(folder / "elsewhere" / f"{second[1]}.flac", music(5_000), 22_050)
    return folder


@pytest.fixture
def database(complete: Lists, tmp_path: Path) -> Path:
    """Last.fm's tags as it writes them down, for the clips of `lists`: the lists' labels, and weaker tags."""
    tracks = [track for split, n in SIZES.items() for track in complete.track_ids[split][:n]]
    rows = [np.eye(50, dtype=np.uint8)[number] for number in range(SIZES["train"])]
    rows += [row for split in ("valid", "test") for row in complete.labels[split][: SIZES[split]]]
    return write_database(tmp_path / "lastfm_tags.db", complete.tags, tracks, np.array(rows))


def write(file: Path, lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_database(file: Path, tags: tuple[str, ...], tracks: list[str], labels: np.ndarray) -> Path:
    with sqlite3.connect(file) as tables:
        tables.execute("CREATE TABLE tids (tid TEXT)")
        tables.execute("CREATE TABLE tags (tag TEXT)")
        tables.execute("CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT)")
        # Neither rows nor tags come in the order of the lists, and there are others between.
        names = ["house", "a tag beyond the 50", *reversed(tags)]
        tables.executemany("INSERT INTO tags VALUES (?)", [(name,) for name in names])
        tables.executemany("INSERT INTO tids VALUES (?)", [("TRZZZZZ000000000000",), *((t,) for t in tracks)])
        votes = {0: 50.0, 1: 51.0}
        entries = [
            (track + 2, names.index(tag) + 1, votes[int(labels[track, column])])
            for track in range(len(tracks))
            for column, tag in enumerate(tags)
        ]
        entries += [(track + 2, 1, 100.0) for track in range(len(tracks))]  # "house" is not "House"
        tables.executemany("INSERT INTO tid_tag VALUES (?, ?, ?)", entries)
    tables.close()
    return file


def file_of(clips: Path, shop: str) -> Path:
    return clips / shop[0] / shop[1] / f"{shop}.clip.mp3"


def refusal(*args: object, **words: str) -> str:
    with pytest.raises(DatasetError) as refused:
        plan(*args, 22_050, **words)  # type: ignore[arg-type]
    return str(refused.value)


def test_the_public_lists_have_the_published_sizes_under_both_conventions(complete: Lists) -> None:
    assert {split: len(ids) for split, ids in complete.track_ids.items()} == PUBLISHED["all"]
    assert complete.filtered is not None
    assert {split: len(ids) for split, ids in complete.filtered.items()} == PUBLISHED["paper"]


def test_tags_keep_their_order_and_their_capitals(complete: Lists) -> None:
    assert (len(complete.tags), complete.tags[0], complete.tags[-1]) == (50, "rock", "happy")
    assert {"Mellow", "Hip-Hop", "Progressive rock", "House"} <= set(complete.tags)


def test_a_tree_of_clips_becomes_a_store(
    lists: Path, clips: Path, database: Path, complete: Lists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    assert main(["name=msd", f"source={clips}", f"lists={lists}", f"labels={database}", "workers=1"]) == 0
    card = datasets.card("msd")
    assert (card.clips, card.skipped, card.tags) == (15, {}, complete.tags)
    assert (card.default_convention, card.segmented_samples) == ("paper", 640_000)
    assert card.conventions == {"paper": {"train": 6, "valid": 3, "test": 4}, "all": SIZES}
    train = datasets.open("msd", "train", 1_000)
    assert train.clip_ids == complete.track_ids["train"][:6]
    assert np.array_equal(train.labels, np.eye(50, dtype=np.uint8)[:6])
    for split in ("valid", "test"):
        opened = datasets.open("msd", split, 1_000, convention="all")
        assert np.array_equal(opened.labels, complete.labels[split][: SIZES[split]])


def test_what_is_missing_or_empty_is_counted_and_listed(
    lists: Path, clips: Path, database: Path, complete: Lists, tmp_path: Path
) -> None:
    lost, empty = complete.shop_ids["valid"][:2]
    file_of(clips, lost).unlink()
    file_of(clips, empty).write_bytes(b"")
    words = {"lists": str(lists), "labels": str(database)}
    card = build("msd", clips, workers=1, out=tmp_path / "home", words=words)
    assert (card.clips, card.skipped) == (13, {"empty": 1, "missing": 1})
    with (tmp_path / "home" / "datasets" / "msd" / "skipped.csv").open() as rows:
        first, second = csv.DictReader(rows)
    assert first == {
        "clip_id": complete.track_ids["valid"][0],
        "path": f"{lost[0]}/{lost[1]}/{lost}.clip.mp3",
        "reason": "missing",
        "detail": "no file below the source is named by its 7digital or MSD id",
    }
    assert (second["clip_id"], second["reason"]) == (complete.track_ids["valid"][1], "empty")


def test_all_of_the_lists_are_planned_over_a_part_of_the_audio(
    real: Path, clips: Path, complete: Lists, tmp_path: Path
) -> None:
    n_train = len(complete.track_ids["train"])
    np.save(tmp_path / "train_y.npy", np.zeros((n_train, 50), bool))
    found = plan(clips, 22_050, lists=str(real), labels=str(tmp_path / "train_y.npy"))
    assert (len(found.clips), len(found.skipped)) == (15, 242_854 - 15)
    assert found.listed == PUBLISHED
    assert found.notes == (
        f"{real} has as many clips as the published lists under both conventions",
        f"labels of train are those of {tmp_path}/train_y.npy",
        f"15 of 242,854 clips have a file below {clips}",
    )


def test_the_notes_say_how_far_lists_and_database_agree(lists: Path, clips: Path, database: Path) -> None:
    found = plan(clips, 22_050, lists=str(lists), labels=str(database))
    assert found.notes == (
        f"{lists} has other lists than the published ones (6 / 4 / 5): so are its numbers",
        f"labels of train are from {database}, which knows 6 of 6 clips; where valid and test can be compared, "
        "100.00% of its labels are those of the lists",
        f"15 of 15 clips have a file below {clips}",
    )


def test_a_clip_that_the_database_does_not_know_is_left_out_and_said(
    lists: Path, clips: Path, complete: Lists, tmp_path: Path
) -> None:
    tracks = complete.track_ids["train"][1:6]
    database = write_database(tmp_path / "part.db", complete.tags, tracks, np.ones((5, 50), np.uint8))
    found = plan(clips, 22_050, lists=str(lists), labels=str(database))
    (left,) = found.skipped
    assert (left.clip_id, left.reason) == (complete.track_ids["train"][0], "unlabelled")
    assert found.notes[1].endswith(
        "5 of 6 clips (and none of valid and test, so it can't be compared with the lists)"
    )


def test_labels_lie_beside_the_lists_where_no_word_says_otherwise(
    lists: Path, clips: Path, database: Path
) -> None:
    words = refusal(clips, lists=str(lists))
    assert words == (
        "msd: the public lists have no labels of train; give labels=lastfm_tags.db (Last.fm's) or labels=train_y.npz"
    )
    database.rename(lists / "lastfm_tags.db")
    assert "lastfm_tags.db, which knows 6 of 6" in plan(clips, 22_050, lists=str(lists)).notes[1]


def test_without_the_authors_lists_there_is_the_convention_all_alone(
    lists: Path, clips: Path, database: Path
) -> None:
    for file in lists.glob("author_*"):
        file.unlink()
    found = plan(clips, 22_050, lists=str(lists), labels=str(database))
    assert found.conventions == ("all",)
    assert (
        found.notes[0]
        == f"{lists} lacks author_filtered_*_msd_id.txt: only the convention all (6 / 4 / 5), not paper"
    )


def test_the_database_is_opened_for_reading_only(database: Path, complete: Lists) -> None:
    before = database.read_bytes(), sorted(os.listdir(database.parent))  # noqa: PTH208 - names alone
    database.chmod(0o444)
    read_database(database, complete.tags, complete.track_ids["train"][:6])
    assert before == (database.read_bytes(), sorted(os.listdir(database.parent)))  # noqa: PTH208


def test_of_several_files_of_a_clip_the_usual_one_is_taken_whatever_the_order(
    lists: Path, clips: Path, database: Path, complete: Lists
) -> None:
    shop = complete.shop_ids["test"][0]
    (clips / "0-first").mkdir()
    (clips / "0-first" / f"{shop}.clip.mp3").write_bytes(b"another")
    found = plan(clips, 22_050, lists=str(lists), labels=str(database))
    assert f"{shop[0]}/{shop[1]}/{shop}.clip.mp3" in {clip.path for clip in found.clips}
    assert found.notes[-1].endswith(f"below {clips}; 1 have more than one, of which one was taken")


def test_links_are_followed_and_circles_and_links_to_nothing_are_not(tmp_path: Path) -> None:
    (tmp_path / "root" / "1").mkdir(parents=True)
    (tmp_path / "root" / "1" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "1" / "12.mp3").symlink_to(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "34.clip.mp3").write_bytes(b"abc")
    (tmp_path / "other" / "56.txt").write_bytes(b"abc")
    (tmp_path / "root" / "other").symlink_to(tmp_path / "other")
    heard = list[int]()
    found = find_clips(tmp_path / "root", {"12", "34", "56"}, heard.append)
    assert found == ({"34": ("other/34.clip.mp3", 3)}, 0)
    assert heard == [1]


def test_labels_of_numpy_files_are_read_with_and_without_a_name(tmp_path: Path) -> None:
    y = np.array([[0, 1], [1, 0]])
    np.savez(tmp_path / "one.npz", labels=y)
    np.savez(tmp_path / "two.npz", other=y, y=y.astype(float))
    np.save(tmp_path / "three.npy", y.astype(bool))
    for name in ("two.npz", "three.npy"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for name in ("one.npz", "two.npz", "three.npy", "two.npz.gz", "three.npy.gz"):
        assert np.array_equal(read_labels(tmp_path / name, (2, 2)), y)


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(y=np.zeros((5, 50))), "has labels of (5, 50); the lists are for (4, 50)"),
        (saved(y=np.full((4, 50), 2)), "has labels other than 0 and 1"),
        (saved(y=np.full((4, 50), "a")), "has labels other than 0 and 1"),
        (
            saved(y=np.full((4, 50), None)),
            "can't be read as an array of labels: it holds objects of Python, which are never read",
        ),
        (saved(a=np.zeros(1), b=np.zeros(1)), "has no array called y"),
        (saved(y=np.zeros((4, 50)))[:200], "can't be read as an array of labels: File is not a zip file"),
        (b"no array at all", "can't be read as an array of labels: "),
        (b"", "can't be read as an array of labels: "),
    ],
)
def test_labels_that_do_not_fit_are_refused(lists: Path, clips: Path, content: bytes, said: str) -> None:
    (lists / "valid_y.npz").write_bytes(content)
    assert refusal(clips, lists=str(lists)).startswith(f"{lists}/valid_y.npz {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d.execute("DROP TABLE tid_tag"),
            "can't be read as Last.fm's tags: no such table: tid_tag",
        ),
        (
            lambda d: d.execute("UPDATE tags SET tag = lower(tag)"),
            "has no tag Mellow, Hip-Hop, Progressive rock, House (capitals count); is it Last.fm's for the MSD?",
        ),
        (
            lambda d: d.execute("DELETE FROM tids"),
            "knows none of the 6 clips of train; is it Last.fm's for the MSD?",
        ),
    ],
)
def test_a_database_of_something_else_is_refused(
    lists: Path, clips: Path, database: Path, change: Callable[[sqlite3.Connection], object], said: str
) -> None:
    tables = sqlite3.connect(database)
    with tables:
        change(tables)
    tables.close()
    assert refusal(clips, lists=str(lists), labels=str(database)) == f"{database} {said}"


def test_labels_that_are_no_file_of_labels_are_refused(lists: Path, clips: Path, database: Path) -> None:
    words = {"lists": str(lists), "labels": str(database)}
    database.write_bytes(database.read_bytes()[:5_000])
    assert refusal(clips, **words).startswith(f"{database} can't be read as Last.fm's tags: ")
    database.write_bytes(b"tags")
    assert refusal(clips, **words) == (
        f"labels={database} is neither Last.fm's lastfm_tags.db (SQLite) nor an .npz or .npy array"
    )
    database.unlink()
    assert refusal(clips, **words) == f"labels={database} can't be read: No such file or directory"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "train_x_msd_id.txt",
            b"TRAAAAK128F9318786\nTRaaa\n",
            "train_x_msd_id.txt line 2: 'TRaaa' is not an MSD track id",
        ),
        ("train_x_7d_id.txt", b"55\n../../x\n", "train_x_7d_id.txt line 2: '../../x' is not a 7digital id"),
        (
            "train_x_7d_id.txt",
            b"55\n66\n",
            ": 6 lines of train_x_msd_id, 2 of train_x_7d_id; they go together line by",
        ),
        (
            "train_x_msd_id.txt",
            b"TRAAAAK128F9318786\n" * 6,
            "train_x_msd_id line 2: TRAAAAK128F9318786 is in train already",
        ),
        ("test_x_msd_id.txt.gz", b"no gzip", "test_x_msd_id.txt.gz can't be read: Not a gzipped file"),
        ("50tagList.txt", b"rock\nrock\n", "50tagList.txt has 2 lines, 1 of them different tags"),
        ("50tagList.txt", b"rock\xff\n", "50tagList.txt can't be read: 'utf-8' codec can't decode byte 0xff"),
        (
            "author_filtered_valid_msd_id.txt",
            b"TRAAAAK128F9318786\n",
            "author_filtered_valid_msd_id.txt names 1 clips that valid_x_msd_id does not",
        ),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    lists: Path, clips: Path, name: str, content: bytes, said: str
) -> None:
    for file in (lists / name, lists / f"{name}.gz", lists / name.removesuffix(".gz")):
        file.unlink(missing_ok=True)
    (lists / name).write_bytes(content)
    assert refusal(clips, lists=str(lists)).removeprefix(f"{lists}").removeprefix("/").startswith(said)


def test_source_and_lists_must_be_there(lists: Path, clips: Path, tmp_path: Path) -> None:
    assert refusal(None) == f"msd is read from its files: {msd.DATASET.command}"
    assert (
        refusal(tmp_path / "no")
        == f"source={tmp_path}/no is no folder; give the one that has the clips, at any depth"
    )
    said = f"lists={clips} has no 50tagList.txt (.gz is read, too); give the folder of the lists"
    assert refusal(clips) == said
    (lists / "test_y.npz").unlink()
    assert refusal(clips, lists=str(lists)).startswith(
        f"lists={lists} has no test_y.npz or test_y.npy (.gz is read"
    )


def test_a_clip_lies_where_the_distribution_has_it() -> None:
    assert msd_files.usual_path("2341") == "2/3/2341.clip.mp3"
    assert tuple(SIZES) == SPLITS
