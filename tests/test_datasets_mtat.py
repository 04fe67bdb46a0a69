"""MagnaTagATune: vocabulary, split conventions, and what is refused of its lists."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from mtat_tree import COLUMNS, Clip, music, write_table, write_tree

from datasets import mtat
from datasets.errors import DatasetError
from datasets.mtat import BROKEN, NOT_IN_PAPER, PUBLISHED, TOP_50, plan, splits_of
from datasets.mtat_files import Annotations, read_annotations, read_clip_info, recording_of


@pytest.fixture(scope="module")
def complete(test_data: Path) -> Annotations:
    """The original annotations, 25,863 rows."""
    return read_annotations(test_data / "mtat-annotations")


@pytest.fixture(scope="module")
def splits(complete: Annotations) -> list[dict[str, str]]:
    """Split of each of the 25,863 clips by convention."""
    rows = zip(complete.clip_ids, complete.paths, complete.labels(TOP_50), strict=True)
    return [splits_of(*row) for row in rows]


def test_the_vocabulary_is_the_50_most_frequent_tags_with_ties_in_column_order(complete: Annotations) -> None:
    assert complete.most_counted(50) == TOP_50


def test_the_vocabulary_is_the_published_list_in_its_order(test_data: Path) -> None:
    published = (test_data / "mtat-annotations" / "top50_tags.txt").read_text().splitlines()
    assert list(TOP_50) == published


def test_each_convention_has_the_published_number_of_clips(splits: list[dict[str, str]]) -> None:
    for convention, counts in PUBLISHED.items():
        found = [clip[convention] for clip in splits if convention in clip]
        assert {split: found.count(split) for split in counts} == counts


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_paper_convention_is_the_authors_lists_path_for_path(
    test_data: Path, complete: Annotations, splits: list[dict[str, str]], split: str
) -> None:
    with gzip.open(test_data / "mtat-annotations" / f"author_{split}_list_pub.txt.gz", "rt") as lines:
        authors = {line.strip() for line in lines}
    rows = zip(complete.paths, splits, strict=True)
    assert {path for path, clip in rows if clip.get("paper") == split} == authors


@pytest.mark.parametrize("split", ["valid", "test"])
def test_labels_equal_the_authors_in_every_cell(test_data: Path, complete: Annotations, split: str) -> None:
    folder = test_data / "mtat-annotations"
    with gzip.open(folder / f"author_{split}_list_pub.txt.gz", "rt") as lines:
        paths = [line.strip() for line in lines]
    labels = complete.labels(TOP_50)
    row_of = {path: row for row, path in enumerate(complete.paths)}
    authors = np.load(folder / f"author_y_{split}_pub.npz", allow_pickle=False)["y"]
    assert np.array_equal(labels[[row_of[path] for path in paths]], authors)


def test_a_clip_without_a_top_50_tag_is_in_all_only() -> None:
    assert splits_of("2", "f/a.mp3", np.zeros(50, np.uint8)) == {"all": "test"}


@pytest.mark.parametrize("clip_id", sorted(BROKEN))
def test_an_mp3_that_is_empty_in_the_distribution_is_in_no_split(clip_id: str) -> None:
    assert splits_of(clip_id, "6/a.mp3", np.ones(50, np.uint8)) == {}


@pytest.mark.parametrize("clip_id", sorted(NOT_IN_PAPER))
def test_three_tagged_clips_are_not_in_the_papers_lists(clip_id: str) -> None:
    assert splits_of(clip_id, "0/a.mp3", np.ones(50, np.uint8)) == {"all": "train", "tagged": "train"}


@pytest.mark.parametrize(
    ("folder", "split"), [("0", "train"), ("b", "train"), ("c", "valid"), ("d", "test"), ("f", "test")]
)
def test_clips_are_split_by_folder(folder: str, split: str) -> None:
    assert splits_of("2", f"{folder}/a.mp3", np.ones(50, np.uint8))["paper"] == split


def test_the_complete_lists_over_a_part_of_the_audio_name_all_that_is_missing(
    test_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "mp3").symlink_to(test_data / "mtat-mini" / "mp3")
    for name in ("annotations_final.csv.gz", "clip_info_final.csv.gz"):
        (tmp_path / name).symlink_to(test_data / "mtat-annotations" / name)
    found = plan(tmp_path, 22_050)
    reasons = [clip.reason for clip in found.skipped]
    assert (len(found.clips), reasons.count("missing"), reasons.count("empty")) == (307, 25_553, 3)
    assert "is the complete original; vocabulary and split counts are the published ones" in found.notes[0]
    assert all(clip.artist for clip in found.clips)


def test_lists_that_are_not_the_original_are_announced(tmp_path: Path) -> None:
    write_tree(tmp_path, [Clip(2, "f/a.mp3", audio=music(100))])
    assert "is not the complete original (1 rows)" in plan(tmp_path, 22_050).notes[0]


@pytest.mark.parametrize("below", ["", "mp3"])
def test_mp3_folders_lie_beside_the_lists_or_below_mp3(tmp_path: Path, below: str) -> None:
    write_tree(tmp_path, [Clip(2, "f/a.mp3", audio=music(100))], below)
    assert plan(tmp_path, 22_050).source == str(tmp_path / below)


def test_artists_come_from_clip_info_where_there_is_one(tmp_path: Path) -> None:
    assert read_clip_info(tmp_path) == {}
    url = "http://he3.magnatune.com/all/01--BWV54%20-%20I%20Aria--ABS.mp3"
    header = ("clip_id", "artist", "segmentStart", "original_url")
    write_table(tmp_path / "clip_info_final.csv", [header, ("2", "American Bach Soloists", "30", url)])
    info = read_clip_info(tmp_path)["2"]
    assert (info.artist, info.recording) == ("American Bach Soloists", "bwv54@30")


@pytest.mark.parametrize(
    ("album", "sampler"),
    [
        ("01-Lenten%20is%20come-Briddes%20Roune.mp3", "07-Lenten%20Is%20Come-Shira%20Kammen.mp3"),
        ("03-March%20Thirty-One%20(Falling%20You)-Magnatune.mp3", "06-march%20thirty-one-Falling%20You.mp3"),
        ("07-Arabesque-Hans%20Christian.mp3", "08-Arabesque-Hans%20Christian-DJ%20Cary.mp3"),
    ],
)
def test_a_piece_is_known_again_on_a_sampler(album: str, sampler: str) -> None:
    assert recording_of(f"http://x/{album}", "59") == recording_of(f"http://x/{sampler}", "59")
    assert recording_of(f"http://x/{album}", "59") != recording_of(f"http://x/{album}", "88")


@pytest.mark.parametrize("url", ["", "http://x/", "http://x/-.mp3"])
def test_an_address_without_a_title_names_no_piece(url: str) -> None:
    assert recording_of(url, "0") == ""


def test_the_real_list_has_102_test_clips_whose_twin_is_in_training(test_data: Path) -> None:
    known = read_clip_info(test_data / "mtat-annotations")
    annotations = read_annotations(test_data / "mtat-annotations")
    train, test = (
        [known[i] for i, path in zip(annotations.clip_ids, annotations.paths, strict=True) if path[0] in side]
        for side in ("0123456789ab", "def")
    )
    heard = {clip.recording for clip in train}
    assert sum(clip.recording in heard for clip in test) == 102
    artists = {clip.artist for clip in train}
    assert sum(clip.artist not in artists for clip in test) == 2_045


def test_compressed_lists_are_read_as_they_are(tmp_path: Path) -> None:
    write_tree(tmp_path, [Clip(2, "f/a.mp3", ("rock", "slow"))])
    plain = read_annotations(tmp_path)
    file = tmp_path / "annotations_final.csv"
    (tmp_path / "annotations_final.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    packed = read_annotations(tmp_path)
    assert (packed.sha256, packed.paths) == (plain.sha256, plain.paths)
    assert np.array_equal(packed.matrix, plain.matrix)


def row(**changes: str) -> tuple[str, ...]:
    """A good row of annotations, with what a test makes wrong."""
    marks = changes.get("marks", "0" * len(COLUMNS))
    return (changes.get("clip_id", "2"), *marks, changes.get("path", "f/a.mp3"))


HEADER = ("clip_id", *COLUMNS, "mp3_path")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([HEADER], "has no rows; is it whole?"),
        ([("a", "b", "c"), ("1", "0", "f/a.mp3")], "line 1: wanted the columns clip_id, the tags, mp3_path"),
        ([HEADER, row(), row()[:-1]], f"line 3: {len(HEADER) - 1} columns, the first line has {len(HEADER)}"),
        ([HEADER, row(marks="2" + "0" * 50)], "line 2: a tag is marked '2'; wanted 0 or 1"),
        ([HEADER, row(path="../../secret.mp3")], "line 2: path '../../secret.mp3'; wanted a folder 0 to f"),
        ([HEADER, row(), row()], "a clip_id stands in two rows; each clip has one"),
        ([("clip_id", "rock", "mp3_path"), ("2", "1", "f/a.mp3")], "has no column for guitar, classical,"),
    ],
)
def test_malformed_annotations_are_refused_by_line(tmp_path: Path, rows: list, words: str) -> None:
    write_table(tmp_path / "annotations_final.csv", rows)
    with pytest.raises(DatasetError) as refusal:
        plan(tmp_path, 22_050)
    assert f"{tmp_path}/annotations_final.csv" in str(refusal.value)
    assert words in str(refusal.value)


def test_a_source_must_be_given_be_a_folder_and_hold_the_annotations(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"mtat is read from its files: python -m datasets\.build name=mtat source="
    ):
        plan(None, 22_050)
    with pytest.raises(DatasetError, match=r"no-such is no folder; give the one with annotations_final\.csv"):
        plan(tmp_path / "no-such", 22_050)
    with pytest.raises(DatasetError, match=r"has no annotations_final\.csv \(or \.csv\.gz\)"):
        plan(tmp_path, 22_050)


def test_other_rates_keep_the_same_seconds(tmp_path: Path) -> None:
    write_tree(tmp_path, [Clip(2, "f/a.mp3", audio=music(100))])
    at_22, at_16 = plan(tmp_path, 22_050), plan(tmp_path, 16_000)
    assert (at_22.clip_samples, at_22.segmented_samples) == (641_655, 640_000)
    assert (at_16.clip_samples, at_16.segmented_samples) == (465_600, 464_399)


def test_an_original_that_gives_other_tags_or_counts_than_published_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, [Clip(2, "f/a.mp3", ("metal",), music(100))])
    monkeypatch.setattr(mtat, "ORIGINAL_SHA256", read_annotations(tmp_path).sha256)
    with pytest.raises(DatasetError, match="its 50 most frequent tags are not the published ones"):
        plan(tmp_path, 22_050)
    monkeypatch.setattr(Annotations, "most_counted", lambda self, n: TOP_50)
    with pytest.raises(
        DatasetError, match=r"splits of \{'paper': .*'test': 1\}.*; published are \{'paper': "
    ):
        plan(tmp_path, 22_050)


def test_a_clip_info_without_artists_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "clip_info_final.csv", [("clip_id", "title"), ("2", "BWV54")])
    with pytest.raises(
        DatasetError,
        match=r"clip_info_final\.csv line 1: no column artist and no column original_url .*original",
    ):
        read_clip_info(tmp_path)


def test_lists_that_are_no_text_or_no_gzip_are_refused(tmp_path: Path) -> None:
    damaged = bytearray(gzip.compress(b"clip" * 1_000))
    damaged[12] ^= 0xFF
    (tmp_path / "annotations_final.csv.gz").write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"annotations_final\.csv\.gz can't be read: Error -3 while"):
        read_annotations(tmp_path)
    (tmp_path / "annotations_final.csv.gz").write_bytes(b"not packed")
    with pytest.raises(DatasetError, match=r"annotations_final\.csv\.gz can't be read: Not a gzipped file"):
        read_annotations(tmp_path)
    (tmp_path / "annotations_final.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DatasetError, match=r"annotations_final\.csv is no tab separated text: "):
        read_annotations(tmp_path)
