"""Your own music and a CSV: what is read, how it is split, and what is said of a table that is wrong."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtat_tree import music, wav

import datasets
from datasets import build as building
from datasets import folder
from datasets.build import build, main
from datasets.errors import DatasetError
from datasets.folder import plan, split_by_artist
from datasets.recipe import recipe_names
from search import data
from search.words import read_words

ROWS = ("a.wav,rock;slow,train,Ann", "b.wav,rock,valid,Bob", "sub/c.wav,,test,Cid")
HEADER = "path,tags,split,artist"


def tree(where: Path, names: Iterable[str] = ("a.wav", "b.wav", "sub/c.wav"), seconds: float = 0.2) -> Path:
    """A folder of short clips of different lengths."""
    for number, name in enumerate(names):
        file = where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(wav(music(round(22_050 * seconds) + number, number)))
    return where


def table(where: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    file = where / "tags.csv"
    file.write_bytes("\n".join((header, *rows, "")).encode(encoding))
    return file


def refusal(source: Path, **words: str) -> str:
    with pytest.raises(DatasetError) as refused:
        plan(source, 22_050, **words)
    return str(refused.value)


def refused_rows(where: Path, *rows: str, header: str = HEADER) -> str:
    """What is said of a table, without its name."""
    file = table(tree(where), *rows, header=header)
    return refusal(where).removeprefix(f"{file} ")


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
    build("folder", table(tree(tmp_path), *ROWS).parent, workers=1, words={"called": "mymusic"})
    with pytest.raises(DatasetError, match=r"no data set is called 'mymusc'; did you mean mymusic\?"):
        datasets.open("mymusc")
    with pytest.raises(DatasetError) as refused:
        build("mymusic", tmp_path)
    assert str(refused.value) == (
        "mymusic is what a store is called; to build it again: "
        "python -m datasets.build name=folder called=mymusic source=FOLDER csv=FILE"
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


def test_tags_are_separated_by_semicolon_or_bar_and_stored_in_alphabetical_order(tmp_path: Path) -> None:
    rows = (
        'a.wav," soft  rock ; slow|slow;",train,Ann',
        "b.wav,Rock;rock,valid,Bob",
        'sub/c.wav,"a,b",test,C',
    )
    table(tree(tmp_path), *rows)
    found = plan(tmp_path, 22_050)
    assert found.tags == ("Rock", "a,b", "slow", "soft rock")
    assert found.labels.tolist() == [[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert found.notes[:2] == (
        f"{tmp_path}/tags.csv: a comma in these belongs to the tag, as ; and | divide: 'a,b'",
        f"{tmp_path}/tags.csv: tags that differ in case alone are one: Rock (rock)",
    )


def test_commas_divide_tags_where_no_cell_has_another_mark_and_that_is_said(tmp_path: Path) -> None:
    rows = ('a.wav,"classical, solemnity",train,Ann', "b.wav,pop,valid,Bob", 'sub/c.wav,"pop,joy,",test,C')
    file = table(tree(tmp_path), *rows)
    found = plan(tmp_path, 22_050)
    assert found.tags == ("classical", "joy", "pop", "solemnity")
    assert found.notes == (
        f"{file}: no cell of tags has ; or | and 2 have a comma, so commas divide: 'classical, solemnity' is 2 tags; "
        "where a comma belongs to a tag, end that cell with ;",
    )
    table(tmp_path, rows[0].replace('solemnity"', 'solemnity;"'), *rows[1:])  # the way out that it names
    assert plan(tmp_path, 22_050).tags == ("classical, solemnity", "pop", "pop,joy,")


def test_a_comma_in_one_cell_alone_belongs_to_its_tag_and_that_is_said(tmp_path: Path) -> None:
    file = table(tree(tmp_path), 'a.wav,"Bed, Bath",train,Ann', *ROWS[1:])
    found = plan(tmp_path, 22_050)
    assert found.tags == ("Bed, Bath", "rock")
    assert found.notes == (f"{file}: a comma in these belongs to the tag, as ; and | divide: 'Bed, Bath'",)


def test_of_tags_that_differ_in_case_the_most_frequent_spelling_is_kept_and_that_is_said(
    tmp_path: Path,
) -> None:
    rows = ("a.wav,POP;Pop,train,Ann", "b.wav,pop;Joy,valid,Bob", "sub/c.wav,pop;JOY,test,Cid")
    file = table(tree(tmp_path), *rows)
    found = plan(tmp_path, 22_050)
    assert found.tags == ("JOY", "pop")
    assert found.labels.tolist() == [[0, 1], [1, 1], [1, 1]]
    assert found.notes == (f"{file}: tags that differ in case alone are one: JOY (Joy), pop (POP, Pop)",)


def test_a_mark_at_the_beginning_capitals_quotes_and_empty_lines_are_no_problem(tmp_path: Path) -> None:
    rows = ('"a.wav","rock","Train","Ann ""A"" Lee"', "", ",,,", *ROWS[1:])
    table(tree(tmp_path), *rows, header=" Path ,TAGS,split,artist", encoding="utf-8-sig")
    assert plan(tmp_path, 22_050).clips[0].artist == 'Ann "A" Lee'


@pytest.mark.parametrize(
    ("separator", "tags"), [(";", "rock|slow"), ("\t", "rock;slow"), (";", "rock, slow")]
)
def test_a_table_separated_by_semicolons_or_tabs_is_read_as_spreadsheets_write_it(
    tmp_path: Path, separator: str, tags: str
) -> None:
    rows = (
        ["a.wav", tags, "train", "Ann"],
        ["b.wav", tags, "valid", "Bob"],
        ["sub/c.wav", "", "test", "Lee, C"],
    )
    lines = [separator.join(row) for row in rows]
    table(
        tree(tmp_path),
        *lines,
        header=separator.join(("Path", "Tags", "split", "artist")),
        encoding="utf-8-sig",
    )
    found = plan(tmp_path, 22_050)
    assert found.tags == ("rock", "slow")
    assert found.labels.tolist() == [[1, 1], [1, 1], [0, 0]]
    assert found.clips[2].artist == "Lee, C"


def test_a_row_with_a_mark_too_many_is_told_which_mark_to_quote(tmp_path: Path) -> None:
    rows = [row.replace(";", "|").replace(",", ";") for row in ROWS]
    said = refused_rows(tmp_path, *rows, "d.wav;rock;slow;train;Ann", header=HEADER.replace(",", ";"))
    assert said == "line 5: 5 columns, the first line has 4 (quote a field with a semicolon)"


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    table(tree(tmp_path), *ROWS)
    first = plan(tmp_path, 22_050)
    table(tmp_path, *reversed(ROWS))
    second = plan(tmp_path, 22_050)
    assert (first.id, first.clips, first.tags) == (second.id, second.clips, second.tags)


def test_an_accent_that_the_disk_spells_otherwise_is_found(tmp_path: Path) -> None:
    name = "Zoë.wav"
    tree(tmp_path, [unicodedata.normalize("NFD", name), "b.wav", "sub/c.wav"])
    table(tmp_path, f"{unicodedata.normalize('NFC', name)},rock,train,Ann", *ROWS[1:])
    assert len(plan(tmp_path, 22_050).clips) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("d.wav,rock,train", "line 5: 3 columns, the first line has 4 (quote a field with a comma)"),
        (",rock,train,Ann", "line 5: no path"),
        (
            "/etc/d.wav,rock,train,Ann",
            "line 5: path '/etc/d.wav' leads out of the source folder; write it from that",
        ),
        ("../d.wav,rock,train,Ann", "line 5: path '../d.wav' leads out of the source folder"),
        ("sub/../../d.wav,rock,train,Ann", "line 5: path 'sub/../../d.wav' leads out of the source folder"),
        ("C:\\d.wav,rock,train,Ann", "line 5: path 'C:\\\\d.wav' leads out of the source folder"),
        ("..\\d.wav,rock,train,Ann", "line 5: path '..\\\\d.wav' leads out of the source folder"),
        ("d\0.wav,rock,train,Ann", "line 5: path 'd\\x00.wav' has a control character in it"),
        (
            "d.txt,rock,train,Ann",
            "line 5: d.txt is none of wav, flac, mp3, m4a, ogg, oga, opus, aif, aiff, au, caf, w64",
        ),
        ("./a.wav,rock,train,Ann", "line 5: a.wav stands in line 2 already"),
        ("d.wav,rock,tset,Ann", "line 5: unknown split 'tset'; did you mean test?"),
        ("d.wav,rock,,Ann", "line 5: no split; known: test, train, valid"),
        ('d.wav,"ro\nck",train,Ann', "line 5: tags 'ro\\nck' have a control character in them"),
        ('d.wav,"rock,train,Ann', "line 5: no CSV from here on (unexpected end of data)"),
        ("d.wav,rock,train,Ann", "line 5: 1 of 4 files are not below "),
        (
            "sub,rock,train,Ann",
            "line 5: sub is none of wav, flac, mp3, m4a, ogg, oga, opus, aif, aiff, au, caf, w64",
        ),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, row: str, said: str) -> None:
    assert refused_rows(tmp_path, *ROWS, row).startswith(said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "path,split,artist",
            "line 1: no column tags; found path, split, artist; wanted path, tags; split, artist",
        ),
        ("path;tag", "line 1: no column path; found path;tag; wanted path, tags; split, artist and rate may"),
        ("path,tags,tags", "line 1: the column tags is there twice"),
        ("path,tags", "has no rows below its first line"),
    ],
)
def test_a_wrong_first_line_is_refused(tmp_path: Path, header: str, said: str) -> None:
    assert refused_rows(tmp_path, header=header).startswith(said)


def test_all_problems_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    rows = ("x.wav,rock,train,Ann", "../y.wav,rock,tset,Ann", *ROWS)
    assert refused_rows(tmp_path, *rows).splitlines() == [
        "has 3 problems:",
        f"  line 2: 1 of 4 files are not below {tmp_path}: x.wav (line 2); missing=skip goes on",
        "  line 3: path '../y.wav' leads out of the source folder; write it from that folder on",
        "  line 3: unknown split 'tset'; did you mean test?",
    ]


def test_of_many_problems_the_first_twenty_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    said = refused_rows(tmp_path, *(f"{number}.txt,rock,train,Ann" for number in range(30))).splitlines()
    assert (said[0], said[20], said[-1]) == (
        "has 30 problems:",
        "  line 21: 19.txt is none of wav, flac, mp3, m4a, ogg, oga, opus, aif, aiff, au, caf, w64",
        "  and 10 more",
    )


def test_missing_files_are_named_up_to_five_and_counted(tmp_path: Path) -> None:
    names = ("a.wav", "b.wav", "sub/c.wav", *(f"there{number}.wav" for number in range(9)))
    file = table(tree(tmp_path, names), *ROWS, *(f"{name},rock,train,Ann" for name in names[3:]))
    lost = "".join(f"{number}.wav,rock,train,Ann\n" for number in range(9))
    file.write_text(file.read_text(encoding="utf-8") + lost, encoding="utf-8")
    assert refusal(tmp_path).removeprefix(f"{file} ") == (
        f"line 14: 9 of 21 files are not below {tmp_path}: 0.wav (line 14), 1.wav (line 15), 2.wav (line 16), "
        "3.wav (line 17), 4.wav (line 18) and 4 more; missing=skip goes on"
    )


def test_where_most_files_are_missing_skipping_is_no_way_out_and_the_first_is_shown(tmp_path: Path) -> None:
    rows = [f"Alben\\{number}.wav,rock,train,Ann" for number in range(9)]
    assert refused_rows(tmp_path, *ROWS, *rows) == (
        f"line 5: 9 of 12 files are not below {tmp_path}; the first is 'Alben\\\\0.wav' (line 5), looked for as "
        f"{tmp_path}/Alben\\0.wav: give the source= that paths start from, or write them from it on"
    )


def test_absolute_paths_below_the_source_are_read_from_it_on(tmp_path: Path) -> None:
    source = tree(tmp_path / "music")
    (tmp_path / "link").symlink_to(source)
    rows = (f"{source}/a.wav,x,train,Ann", f"{source}/sub/c.wav,x,test,Cid", "b.wav,x,valid,Bob")
    for folder_given in (source, tmp_path / "link"):
        found = plan(folder_given, 22_050, csv=str(table(tmp_path, *rows)))
        assert [clip.path for clip in found.clips] == ["a.wav", "b.wav", "sub/c.wav"]
    table(source, f"{source}/../out.wav,x,train,Ann", *rows[1:])
    assert "leads out of the source folder" in refusal(source)


def test_backslashes_are_read_as_slashes_where_only_those_are_found_and_that_is_said_once(
    tmp_path: Path,
) -> None:
    file = table(
        tree(tmp_path, ["a.wav", "x/b.wav", "x/y/c.wav"]),
        *(row.replace("b.wav", "x\\b.wav").replace("sub/c.wav", "x\\y\\c.wav") for row in ROWS),
    )
    found = plan(tmp_path, 22_050)
    assert [clip.path for clip in found.clips] == ["a.wav", "x/b.wav", "x/y/c.wav"]
    assert found.notes == (f"{file}: 2 of 3 paths have \\ where the disk has /, and are taken so",)


def test_a_file_whose_name_has_a_backslash_is_itself(tmp_path: Path) -> None:
    table(
        tree(tmp_path, ["x\\b.wav", "x/b.wav", "c.wav"]),
        "x\\b.wav,r,train,A",
        "x/b.wav,r,valid,B",
        "c.wav,r,test,C",
    )
    found = plan(tmp_path, 22_050)
    assert ({clip.path for clip in found.clips}, found.notes) == ({"x\\b.wav", "x/b.wav", "c.wav"}, ())


def test_missing_and_empty_files_can_be_skipped_and_are_reported(tmp_path: Path) -> None:
    table(tree(tmp_path), *ROWS, "lost.wav,rock,train,Ann", "empty.mp3,slow,train,Ann")
    (tmp_path / "empty.mp3").touch()
    card = build("folder", tmp_path, workers=1, out=tmp_path, words={"missing": "skip"})
    assert (card.clips, card.skipped) == (3, {"empty": 1, "missing": 1})


def test_a_table_that_is_not_utf_8_is_refused_by_its_line(tmp_path: Path) -> None:
    file = table(tree(tmp_path), ROWS[0], "b.wav,chanson française,valid,Bob", encoding="latin-1")
    assert refusal(tmp_path) == f"{file} line 3: not UTF-8; save the file as CSV in UTF-8"
    file.unlink()
    assert refusal(tmp_path) == f"csv={file} can't be read: No such file or directory"


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
