"""Checking a store: each damaged file is named, and the command given makes that one again."""

import json
import shlex
from pathlib import Path

import pytest
from mtat_tree import Clip, music, write_tree
from own_music import ROWS, table, tree

from datasets import build as building
from datasets import mtat
from datasets.build import build
from datasets.verify import main, verify


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store of three shards, built from tmp_path/source below tmp_path."""
    clips = [Clip(i, f"0/{i}.mp3", audio=music(1_000, i)) for i in range(130)]
    build("mtat", write_tree(tmp_path / "source", clips), workers=1, out=tmp_path)
    return tmp_path / "datasets" / "mtat"


def shards(store: Path) -> list[Path]:
    return sorted(store.glob("shards-*/0*.arrow"))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_whole_store_is_all_right(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fingerprint = json.loads((store / "card.json").read_text())["fingerprint"]
    assert main(["name=mtat", f"out={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert said.out == (
        f"mtat: all 4 files (0.00 GB) are as they were written, fingerprint {fingerprint}, in {store}\n"
    )
    assert said.err.splitlines()[-1] == "checking mtat: 4 of 4 files"


def test_each_file_at_fault_is_named_with_the_command_that_makes_it_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, second, third = shards(store)
    flip_a_bit(first)
    second.unlink()
    third.write_bytes(third.read_bytes()[:-10])
    size = third.stat().st_size
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{first}: damaged, its checksum is not the one it was written with",
        f"{second}: missing",
        f"{third}: {size:,} bytes, {size + 10:,} were written",
        "mtat: 3 of 4 files are at fault; this makes them again, and no other:",
        f"    python -m datasets.build name=mtat source=FOLDER out={tmp_path}",
    ]


def test_that_command_makes_the_damaged_shard_again_and_no_other(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    flip_a_bit(shards(store)[1])
    inodes = [file.stat().st_ino for file in shards(store)]
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    command = capsys.readouterr().out.splitlines()[-1].replace("FOLDER", str(tmp_path / "source"))
    words = shlex.split(command)[3:]
    assert building.main([*words, "workers=1"]) == 0
    again = [file.stat().st_ino for file in shards(store)]
    assert [old == new for old, new in zip(inodes, again, strict=True)] == [True, False, True]
    assert before == {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    assert verify("mtat", tmp_path) == []


def test_a_damaged_index_is_made_again_without_decoding(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (index,) = store.glob("shards-*/index.arrow")
    flip_a_bit(index)
    (store / "skipped.csv").unlink()
    assert verify("mtat", tmp_path) == [
        f"{index}: damaged, its checksum is not the one it was written with",
        f"{store / 'skipped.csv'}: missing",
    ]
    monkeypatch.setattr(mtat, "decode", None)
    build("mtat", tmp_path / "source", workers=1, out=tmp_path)
    assert verify("mtat", tmp_path) == []


def test_a_card_whose_fingerprint_was_changed_is_found(store: Path, tmp_path: Path) -> None:
    file = store / "card.json"
    card = json.loads(file.read_text())
    file.write_text(json.dumps({**card, "fingerprint": "0123456789abcdef"}))
    assert verify("mtat", tmp_path) == [
        f"{file}: fingerprint 0123456789abcdef is not that of the files it lists"
    ]


def test_the_command_names_a_rate_that_is_not_the_usual_one(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    build("mtat", tmp_path / "source", rate_hz=16_000, workers=1, out=tmp_path)
    shards(store)[0].unlink()
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    command = capsys.readouterr().out.splitlines()[-1].strip()
    assert command == f"python -m datasets.build name=mtat source=FOLDER rate=16000 out={tmp_path}"


def test_the_command_begins_as_the_one_that_was_typed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("UV", "/usr/bin/uv")  # as `uv run` does
    shards(store)[0].unlink()
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    command = capsys.readouterr().out.splitlines()[-1].strip()
    assert command == f"uv run python -m datasets.build name=mtat source=FOLDER out={tmp_path}"


def test_the_command_has_the_words_that_the_store_was_built_with(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, home = tree(tmp_path / "music"), tmp_path / "my home"
    file = table(tmp_path, *ROWS, "gone.wav,rock,train,Dan")
    chosen = {"called": "mine", "csv": str(file), "split": "artist", "seconds": "0.10", "missing": "skip"}
    card = build("folder", source, workers=1, out=home, words=chosen)
    folder = home / "datasets" / "mine"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    flip_a_bit(shards(folder)[0])
    assert main(["name=mine", f"out={home}"]) == 1
    command = capsys.readouterr().out.splitlines()[-1].strip()
    assert command == (
        "python -m datasets.build name=folder source=FOLDER csv=FILE "
        f"split=artist seconds=0.1 missing=skip called=mine out='{home}'"
    )
    words = shlex.split(command.replace("FOLDER", str(source)).replace("FILE", str(file)))[3:]
    assert building.main([*words, "workers=1"]) == 0
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert verify("mine", home) == []
    assert str(tmp_path) not in card.to_json()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ([], "which data set? write name=...; known: "),
        (["nam=mtat"], "'nam=mtat' is no word of this command; did you mean name? (see --help)"),
        (["name=mtatt"], "no data set is called 'mtatt'; did you mean mtat?"),
        (["name=mtat"], "mtat has not been built in "),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    words: list[str],
    refusal: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(refusal)
    assert said.count("\n") == 1


def test_a_store_that_is_not_there_is_built_where_it_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["name=demo", f"out={tmp_path / 'my music'}"]) == 2
    command = f"python -m datasets.build name=demo out='{tmp_path / 'my music'}'"
    assert capsys.readouterr().err.endswith(f"my music/datasets/demo; type: {command}\n")


def test_a_card_that_is_no_card_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (store / "card.json").write_bytes(b"\xff\x00")
    assert main(["name=mtat", f"out={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith(f"{store / 'card.json'} is not the card of a data set (")
    build("mtat", tmp_path / "source", workers=1, out=tmp_path)
    assert verify("mtat", tmp_path) == []


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from datasets import verify as verifying

    def interrupted(given: dict[str, str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "_report", interrupted)
    assert main(["name=mtat"]) == 130
    expected = "interrupted; to begin again: python -m datasets.verify name=mtat\n"
    assert capsys.readouterr().err == expected


def test_help_says_how_it_ends(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    assert "Ends with 0 if all is as it was written, and with 1 if not" in capsys.readouterr().out
