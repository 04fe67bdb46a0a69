"""The CSV beside your own music: how its tags and paths are read, and what is said of one that is wrong."""

import unicodedata
from pathlib import Path

import pytest
from own_music import HEADER, ROWS, refusal, refused_rows, table, tree

from datasets.build import build
from datasets.folder import plan


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


def test_a_text_that_is_no_csv_at_all_is_refused_in_a_line(tmp_path: Path) -> None:
    file = tree(tmp_path) / "tags.csv"
    file.write_text("[" + "1, " * 100_000 + "1]")
    assert refusal(tmp_path).startswith(f"{file} ")
