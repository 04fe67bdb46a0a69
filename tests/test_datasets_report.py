"""What a build says of what it made: what it replaces, what looks odd, and nothing where all is well."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from mtat_tree import Clip, music, wav, write_tree

from datasets.build import build
from datasets.cards import Card

SPLITS = ("train", "valid", "test")
TWO_OF_EACH = [f"{split}{number}" for split in SPLITS for number in range(4)]


def table(folder: Path, rows: Sequence[str]) -> None:
    (folder / "tags.csv").write_text("\n".join(("path,tags,split", *rows, "")), encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve clips of a fifth of a second, four in each split, both tags on half of them."""
    folder = tmp_path / "music"
    folder.mkdir()
    for number, name in enumerate(TWO_OF_EACH):
        (folder / f"{name}.wav").write_bytes(wav(music(4_410, number)))
    table(
        folder, [f"{name}.wav,{'rock' if name[-1] in '01' else 'slow'},{name[:-1]}" for name in TWO_OF_EACH]
    )
    return folder


def built(source: Path, home: Path, **words: str) -> tuple[Card, list[str]]:
    """The card, and what was said."""
    said: list[str] = []
    card = build("folder", source, workers=1, out=home, say=said.append, words={"called": "mine", **words})
    return card, said


def test_where_all_is_well_nothing_is_warned_of(source: Path, tmp_path: Path) -> None:
    _, said = built(source, tmp_path)
    assert not [line for line in said if "warning" in line or "already" in line or "another data set" in line]


def test_a_build_with_nothing_to_do_says_already_built(source: Path, tmp_path: Path) -> None:
    card, _ = built(source, tmp_path)
    _, said = built(source, tmp_path)
    assert f"mine was already built, and is the same: {card.clips} clips, 0.00 hours" in "\n".join(said)
    assert "another data set" not in "\n".join(said)


def test_another_table_under_the_same_name_is_said_to_replace_the_data_before_and_after(
    source: Path, tmp_path: Path
) -> None:
    first, _ = built(source, tmp_path)
    table(source, [f"{name}.wav,{'pop' if name[-1] in '01' else 'slow'},{name[:-1]}" for name in TWO_OF_EACH])
    second, said = built(source, tmp_path)
    old = f"12 clips at 22050 Hz, 2 tags, fingerprint {first.fingerprint}"
    assert second.fingerprint != first.fingerprint
    assert said[0] == (
        f"mine is there as another data set ({old}), which this build replaces; called=NAME keeps both"
    )
    assert f"it replaces another data set of that name: {old}" in said[1:]


def test_other_labels_of_the_same_tags_are_said_to_replace_the_data(source: Path, tmp_path: Path) -> None:
    """Which only shows when the index has been written."""
    first, _ = built(source, tmp_path)
    table(
        source, [f"{name}.wav,{'slow' if name[-1] in '01' else 'rock'},{name[:-1]}" for name in TWO_OF_EACH]
    )
    _, said = built(source, tmp_path)
    (line,) = [line for line in said if "another data set" in line]
    assert line.startswith("it replaces another data set of that name: 12 clips")
    assert line.endswith(first.fingerprint)


def test_clips_far_shorter_than_the_rest_are_counted_and_the_first_is_named(
    source: Path, tmp_path: Path
) -> None:
    for name in ("train3", "valid1"):
        (source / f"{name}.wav").write_bytes(wav(music(400, 1)))
    (source / "test0.wav").write_bytes(wav(music(500, 1)))  # just long enough
    _, said = built(source, tmp_path)
    assert [line for line in said if line.startswith("warning")] == [
        "warning: 2 of 12 clips are shorter than a tenth of the median of 0.2 s, the first train3.wav with 0.018 s: "
        "are their files cut off?"
    ]


def test_a_split_in_which_tags_lack_a_class_is_said_not_to_tell_networks_apart(
    source: Path, tmp_path: Path
) -> None:
    tags = {"train": "rock|slow", "valid": "rock", "test": "slow"}
    rows = [f"{name}.wav,{tags[name[:-1]] if name[-1] in '01' else ''},{name[:-1]}" for name in TWO_OF_EACH]
    table(source, [row for row in rows if not row.startswith("test3")])
    _, said = built(source, tmp_path)
    assert said[-2:] == [
        "warning: valid has 4 clips; 1 of 2 tags have both classes there: it can't tell networks apart",
        "warning: test has 3 clips; 1 of 2 tags have both classes there: it can't tell networks apart",
    ]


def test_a_tag_that_all_clips_of_a_split_carry_has_one_class_there(source: Path, tmp_path: Path) -> None:
    rows = [
        f"{name}.wav,{'rock' if name[-1] in '01' or name[0] == 'v' else ''},{name[:-1]}"
        for name in TWO_OF_EACH
    ]
    table(source, rows)
    _, said = built(source, tmp_path)
    assert (
        said[-1]
        == "warning: valid has 4 clips; 0 of 1 tags have both classes there: it can't tell networks apart"
    )


def test_magnatagatune_without_its_clip_info_says_what_is_not_known_and_which_file_would_tell(
    tmp_path: Path,
) -> None:
    tree = write_tree(tmp_path, [Clip(2, "0/a.mp3", ("rock",), music(2_000))])
    said: list[str] = []
    build("mtat", tree, workers=1, out=tmp_path, say=said.append)
    assert said[1] == (
        f"there is no clip_info_final.csv in {tree}, so artists are not known: no interval by artist, no scores on "
        "artists that training never heard; put it there (datasets/addresses.toml has its address) and build again"
    )
    header = "clip_id\tartist\toriginal_url\tsegmentStart\n"
    (tree / "clip_info_final.csv").write_text(
        f"{header}2\tAnn\thttp://x/01-Song-Ann.mp3\t0\n", encoding="utf-8"
    )
    said.clear()
    build("mtat", tree, workers=1, out=tmp_path, say=said.append)
    assert "artists are not known" not in "\n".join(said)
