"""Spaces by their names and files: which there are, what is said of a file that is none, and fewer networks of one."""

import json
from pathlib import Path

import pytest

import zoo
from search import spaces
from search.errors import ConfigError
from search.run import main
from search.settings import Training


def test_an_unknown_space_is_answered_with_its_neighbour() -> None:
    with pytest.raises(ConfigError) as refused:
        spaces.load("tabel2")
    assert str(refused.value) == (
        "no search space is called 'tabel2'; did you mean space=table2? (a new one is a file in search/spaces/)"
    )


def test_a_space_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        '"""Mine: is it better?"""\n'
        "from search.spaces import Point\n"
        "def sample(trial):\n"
        "    return Point('samplecnn_m3_n4_s243', options={'dropout': trial.suggest_float('dropout', 0.0, 0.5)})\n"
    )
    space = spaces.load(str(file))
    assert (space.name, space.question, space.grid) == ("mine", "Mine: is it better?", None)


def test_a_file_that_is_no_space_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*gone\.py; give a name"):
        spaces.load(str(tmp_path / "gone.py"))
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('no')")
    with pytest.raises(ConfigError, match=r"broken\.py can't be read as a space: RuntimeError: no"):
        spaces.load(str(broken))
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with pytest.raises(
        ConfigError, match=r"has no function sample\(trial\); search/spaces/joint\.py shows one"
    ):
        spaces.load(str(empty))


@pytest.mark.parametrize("rows", ["{'network': ['crnn']}", "['crnn']", "'crnn'", "3"])
@pytest.mark.parametrize("word", ["GRID", "ARCHITECTURES"])
def test_a_space_whose_rows_are_no_dicts_is_told_in_a_line(word: str, rows: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{word} = {rows}\ndef sample(trial): ...\n")
    with pytest.raises(
        ConfigError, match=rf"mine\.py: {word} has to be a list of dicts, as \[\{{'network': 'crnn'"
    ):
        spaces.load(str(file))


def test_every_space_of_the_package_is_a_lab_note() -> None:
    assert {"table2", "table3", "smoke", "joint"} <= set(spaces.names())
    for name in spaces.names():
        note = spaces.load(name).note
        for part in ("Question:", "Cost:", "Run:"):
            assert part in note, (name, part)


def test_the_tables_of_the_paper_are_complete() -> None:
    assert len(spaces.load("table2").points()) == 42
    assert len(spaces.load("table3").points()) == 13
    rows = {
        row.auc
        for name in zoo.names(table="table4")
        for row in zoo.entry(name).paper
        if row.table == "table4"
    }
    assert rows == {0.9013, 0.894, 0.851, 0.862, 0.9059, 0.8487, 0.9055, 0.8812}
    assert {point.network for point in spaces.load("table4").points()} == set(zoo.names(table="table4"))


def test_a_rival_is_trained_as_its_authors_did_in_the_stages_of_the_budget() -> None:
    points = {point.network: point for point in spaces.load("table4").points()}
    assert points["samplecnn_m3_n9_s3"].training == {}
    changed = Training().changed(**points["persistent_cnn"].training)
    assert (changed.optimizer, changed.batch_size, changed.learning_rates[:2]) == (
        "adagrad",
        10,
        (0.01, 0.002),
    )
    changed = Training().changed(
        **{point.network: point for point in spaces.load("rivals").points()}["cnnsa"].training
    )
    assert (changed.optimizer, changed.learning_rates[0], changed.weight_decay) == ("adam", 1e-4, 1e-4)


def test_the_study_of_filters_varies_the_first_layer_and_the_plan() -> None:
    points = spaces.load("filters").points()
    assert len({json.dumps(point.options, sort_keys=True) for point in points}) == len(points) == 10
    assert {16, 32, 64, 128} < {point.options["first"] for point in points}
    for point in points:
        zoo.entry(point.network).with_options(**point.options)


def test_fewer_networks_are_a_search_of_their_own(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["space=table3", "plan=true", "budget=small", "dataset=demo"]

    def plan(*more: str) -> tuple[str, str]:
        assert main([*words, *more]) == 0
        said = capsys.readouterr().out
        return said.split()[1], said

    whole, _ = plan()
    mel, said = plan("networks=melcnn*")
    assert mel != whole
    assert "trials   5, of which 0 are done" in said
    assert "samplecnn" not in said
    one, said = plan("networks=melcnn*,samplecnn_m3_n9_s3")
    assert one not in (whole, mel)
    assert "trials   6, of which" in said
    assert plan("networks=samplecnn_m3_n9_s3,melcnn*")[0] == one  # the points count, not the words
    assert plan("networks=*")[0] == whole


def test_what_the_sampler_does_not_choose_can_be_fewer() -> None:
    tuned = spaces.load("tuned")
    fewer = tuned.only(["samplecnn_m3*"])
    assert [each["network"] for each in fewer.architectures] == ["samplecnn_m3_n9_s3"]
    assert fewer.identity != tuned.identity
    assert fewer.only(["samplecnn_m3*"]) is fewer
    with pytest.raises(ConfigError) as refused:
        spaces.load("joint").only(["melcnn*"])
    assert str(refused.value) == (
        "networks=melcnn*: space joint has no list of networks, a sampler chooses them; give a space that is a grid, "
        "such as table3"
    )


def test_a_pattern_that_matches_nothing_is_answered_with_what_there_is() -> None:
    smoke = spaces.load("smoke")
    with pytest.raises(ConfigError) as refused:
        smoke.only(["samplecnn*", "melcnn_m3_n4_s729_w730"])
    assert str(refused.value) == (
        "networks=melcnn_m3_n4_s729_w730: no network of space smoke is called so; did you mean "
        "networks=melcnn_m3_n4_s729_w729?"
    )
    with pytest.raises(
        ConfigError, match="no network of space smoke is called so; known: melcnn_m3_n4_s729_w729, "
    ):
        smoke.only(["?"])
