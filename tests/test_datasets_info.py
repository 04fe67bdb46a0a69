"""What is built and what is in it, for a person and for a program."""

import json
from pathlib import Path

import numpy as np
import pytest
from mtat_tree import Clip, music, write_tree

import datasets
from datasets.build import build
from datasets.info import built, describe, main
from datasets.recipe import of_your_own


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small mtat in it: 3 clips stored, 1 missing, 1 too loud."""
    home = tmp_path_factory.mktemp("home")
    clips = [
        Clip(2, "0/a.mp3", ("rock", "loud"), music(22_050)),
        Clip(3, "c/b.mp3", ("rock",), np.full(22_050, 1.5, np.float32)),
        Clip(4, "f/c.mp3", (), music(11_025)),
        Clip(5, "f/d.mp3", ("slow",), None),
    ]
    build("mtat", write_tree(home / "source", clips), workers=1, out=home)
    return home


def test_a_store_is_shown_with_all_that_its_card_and_index_know(
    home: Path, capsys: pytest.CaptureFixture
) -> None:
    card = json.loads((home / "datasets" / "mtat" / "card.json").read_text())
    assert main(["name=mtat", "convention=all", f"out={home}"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for expected in (
        "clips 3, 0.00 hours at 22050 Hz",
        "longest clip 22,050 samples",
        "skipped 1 missing",
        "clipped 1 clips had peaks beyond full scale",
        f"fingerprint {card['fingerprint']}",
        f"tags 50, hash {card['tag_hash']}",
        f"licence {card['licence']}",
        f"citation {card['citation']}",
        "convention train valid test",
        "paper (default) 1 1 0",
        "all 1 1 1",
        "tag (all) clips train valid test",
        "rock 2 1 1 0",
        "loud 1 1 0 0",
        "slow 0 0 0 0",
    ):
        assert expected.split() in lines, expected


def test_tags_are_counted_by_the_convention_asked_for(home: Path) -> None:
    facts = describe("mtat", None, str(home))
    assert facts["convention"] == "paper"
    assert facts["tags"]["rock"] == {"all": 2, "train": 1, "valid": 1, "test": 0}
    assert list(facts["tags"])[:2] == ["guitar", "classical"]
    assert facts["bytes"] == sum(file.stat().st_size for file in (home / "datasets").rglob("*.arrow"))


def test_the_same_as_json(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["name=mtat", "format=json", f"out={home}"]) == 0
    assert json.loads(capsys.readouterr().out) == describe("mtat", None, str(home))


def test_without_a_name_the_built_data_sets_are_listed(home: Path, capsys: pytest.CaptureFixture) -> None:
    (line,) = built(str(home))
    assert (line["name"], line["clips"], line["sample_rate_hz"], line["tags"]) == ("mtat", 3, 22_050, 50)
    assert main([f"out={home}"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "clips", "hours", "Hz", "tags", "GB", "fingerprint"]
    assert row.split() == ["mtat", "3", "0.00", "22050", "50", "0.00", line["fingerprint"]]
    assert main([f"out={home}", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == [line]


def test_a_store_whose_card_is_damaged_is_listed_with_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "datasets" / "mtat"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    assert main([f"out={tmp_path}"]) == 0
    assert f"{folder / 'card.json'} is not the card of a data set ('tags'); build it again" in (
        capsys.readouterr().out
    )


def test_where_nothing_is_built_it_says_how_to_begin_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    command = "begin with: python -m datasets.build name=demo"
    assert main([]) == 0
    assert capsys.readouterr().out == f"nothing is built in {tmp_path}; {command}\n"
    elsewhere = tmp_path / "my music"
    assert main([f"out={elsewhere}"]) == 0
    assert capsys.readouterr().out == f"nothing is built in {elsewhere}; {command} 'out={elsewhere}'\n"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (
            ["name=mtat", "convention=papier"],
            "convention=papier: mtat has none called so; did you mean paper?",
        ),
        (["name=mtat", "format=xml"], "format=xml: known: json, text"),
        (["convention=paper"], "convention=paper: of which data set? write name=..."),
        (["name=mtt"], f"no data set is called 'mtt'; did you mean mtat? ({of_your_own()})"),
        (["nam=mtat"], "'nam=mtat' is no word of this command; did you mean name? (see --help)"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    home: Path, words: list[str], refusal: str, capsys: pytest.CaptureFixture
) -> None:
    assert main([*words, f"out={home}"]) == 2
    assert capsys.readouterr().err == refusal + "\n"


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from datasets import info

    def interrupted(given: dict[str, str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "_answer", interrupted)
    assert main(["name=mtat"]) == 130
    assert capsys.readouterr().err == "interrupted; to ask again: python -m datasets.info name=mtat\n"


def test_demo_is_found_in_the_home(demo: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["name=demo"]) == 0
    assert datasets.card("demo").fingerprint in capsys.readouterr().out
