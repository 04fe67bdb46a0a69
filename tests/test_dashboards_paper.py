"""Page "Paper": its tables in its layout, its numbers beside ours, and a verdict only where there can be one."""

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clip_scores import a_network, leave_trial
from made_searches import ABOUT, a_search, trained
from page_blocks import figures, rows, tables, words

from dashboards import paper
from dashboards import tables as layout
from dashboards.blocks import Cell, Choice, Link, Page
from dashboards.reading import Reading
from search import files
from search.scoring.literature import TEST_CLIPS
from search.settings import TrialSettings

NET, DEEPER, MELS = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "melcnn_m3_n4_s729_w729"
THE_PAPERS = {"clips": TEST_CLIPS["mtat", "paper"]}


def page(**choices: str) -> Page:
    return paper.page(Reading(), choices)


def with_result(network: str, auc: float, about: float = 0.01, **protocol: Any) -> TrialSettings:
    """A training with this test AUC and an interval of so much on both sides."""
    result, settings = leave_trial(network, a_network(artists=0, **protocol))
    result["test"] |= {"roc_auc": auc, "roc_auc_low": auc - about, "roc_auc_high": auc + about}
    result["protocol"] |= {"clips": protocol.get("clips", 80)}
    files.write_json(files.trial_folder(settings.signature()) / files.RESULT, result)
    return settings


def the_papers_clips(network: str, auc: float) -> TrialSettings:
    """The same as if it had been scored on the paper's clips; its protocol says so."""
    settings = with_result(network, auc)
    path = files.trial_folder(settings.signature()) / files.RESULT
    result = files.read_json(path)
    result["protocol"] |= THE_PAPERS
    files.write_json(path, result)
    return settings


def half_of(page: Page, m: int, longer: bool, frames: str) -> list[Cell]:
    """The paper's number, ours and the verdict of a row of Table 2."""
    table = tables(page)[m - 2]
    width = len(table.columns) // 2
    halves = [row[width:] if longer else row[:width] for row in table.rows]
    (row,) = [half for half in halves if half[0] == frames]
    return [each for each in row[4:] if isinstance(each, Cell)]


def test_table_2_is_the_papers(bare_home: Path) -> None:
    told = tables(page())
    assert [table.spans for table in told[:4]] == [
        [
            ("model with 16,384 samples (743 ms) as input", 7),
            ("model with 32,768 samples (1486 ms) as input", 7),
        ],
        [
            ("model with 19,683 samples (893 ms) as input", 7),
            ("model with 59,049 samples (2678 ms) as input", 7),
        ],
        [
            ("model with 16,384 samples (743 ms) as input", 7),
            ("model with 65,536 samples (2972 ms) as input", 7),
        ],
        [
            ("model with 15,625 samples (709 ms) as input", 7),
            ("model with 78,125 samples (3543 ms) as input", 7),
        ],
    ]
    assert [len(table.rows) for table in told] == [8, 6, 4, 3, 13, 7]
    assert rows(told[1])[0] == [
        *("27 frames", "3", "1+3+1", "729", "0.8655", "", "not run"),
        *("81 frames", "4", "1+4+1", "729", "0.8655", "", "not run"),
    ]
    assert rows(told[0])[-1][7:12] == ["16,384 frames", "14", "1+14+1", "2", "0.9040"]


def test_every_number_of_table_2_stands_where_the_transcription_has_it(bare_home: Path) -> None:
    folder = os.environ.get("WAVEZOO_TEST_SPEC")
    if not folder:
        pytest.skip("the transcription is needed: set WAVEZOO_TEST_SPEC to the folder that has table2.csv")
    with (Path(folder) / "table2.csv").open() as stream:
        known = {
            (row["m"], row["n"], row["first_stride"]): float(row["published_auc_mtat"])
            for row in csv.DictReader(stream)
        }
    shown = {}
    for m, table in zip("2345", tables(page())[:4], strict=True):
        for row in rows(table):
            for half in (row[:7], row[7:]):
                shown[m, half[1], half[3]] = float(half[4])
    assert shown == known


def test_tables_3_and_4_are_the_papers(bare_home: Path) -> None:
    third, fourth = tables(page())[4:]
    assert [row[:5] for row in rows(third)[:6]] == [
        ["Frame-level (mel-spectrogram)", "4", "729", "729", "0.9000"],
        ["Frame-level (mel-spectrogram)", "5", "729", "243", "0.9005"],
        ["Frame-level (mel-spectrogram)", "5", "243", "243", "0.9047"],
        ["Frame-level (mel-spectrogram)", "6", "243", "81", "0.9059"],
        ["Frame-level (mel-spectrogram)", "6", "81", "81", "0.9025"],
        ["Frame-level (raw waveforms)", "4", "729", "729", "0.8655"],
    ]
    assert [row[0] for row in rows(third)].count("Sample-level (raw waveforms)") == 3
    assert [(row[1], row[2], row[3], row[6]) for row in rows(fourth)] == [
        ("Persistent CNN", "persistent_cnn", "0.9013", ""),
        ("2D CNN", "fcn4", "0.8940", ""),
        ("2D CNN", "fcn6", "", "0.8510"),
        ("CRNN", "crnn_3m", "", "0.8620"),
        ("Proposed DCNN", "melcnn_m3_n6_s81_w243", "0.9059", ""),
        ("1D CNN", "dieleman_raw", "0.8487", ""),
        ("Proposed DCNN", "samplecnn_m3_n9_s3", "0.9055", "0.8812"),
    ]
    doubted = fourth.rows[2][6]
    assert isinstance(doubted, Cell)
    assert "not reproduced" in doubted.hint


@pytest.mark.parametrize(("auc", "verdict"), [(0.8600, "reproduced"), (0.9000, "above"), (0.7000, "below")])
def test_a_verdict_says_where_ours_lies(bare_home: Path, auc: float, verdict: str) -> None:
    """0.8655 is the paper's AUC of this network."""
    a_search(bare_home, "s", [the_papers_clips(NET, auc)])
    paper_auc, ours, told = half_of(page(), 3, longer=True, frames="81 frames")
    assert (paper_auc.text, told.text, told.verdict) == ("0.8655", verdict, verdict)
    assert ours.text == f"{auc:.4f} ({auc - 0.01:.3f}-{auc + 0.01:.3f})"
    assert ours.hint == "1 seed, by clip"
    assert ours.link == Link("search", {"study": "s"})


@pytest.mark.parametrize(
    "changed", [{}, {"convention": "all", **THE_PAPERS}, {"dataset": "demo", **THE_PAPERS}]
)
def test_on_other_clips_there_is_no_verdict(bare_home: Path, changed: dict[str, Any]) -> None:
    settings = with_result(NET, 0.86)
    path = files.trial_folder(settings.signature()) / files.RESULT
    result = files.read_json(path)
    result["protocol"] |= changed
    files.write_json(path, result)
    a_search(bare_home, "s", [settings])
    shown = page()
    _, ours, told = half_of(shown, 3, longer=True, frames="81 frames")
    assert (told.text, told.verdict) == ("other clips", "")
    assert ours.text.startswith("0.8600")
    assert (
        f"convention {result['protocol']['convention']}, {result['protocol']['clips']} test clips"
        in words(shown)
    )


def test_partial_results_leave_the_others_not_run(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(NET), trained(MELS)])
    shown = page()
    verdicts = [row[-1] for row in rows(tables(shown)[4])]
    assert (verdicts.count("not run"), verdicts.count("other clips")) == (11, 2)
    _, ours, told = half_of(shown, 3, longer=True, frames="243 frames")
    assert (ours.text, told.verdict) == ("", "not run")


def test_a_protocol_and_a_budget_are_chosen_where_there_are_several(bare_home: Path) -> None:
    a_search(bare_home, "a", [trained(NET), trained(DEEPER)])
    a_search(bare_home, "b", [trained(MELS)], replace(ABOUT, budget="paper: the paper's schedule"))
    first = page()
    (choice,) = [block for block in first.blocks if isinstance(block, Choice)]
    assert choice.chosen == "mtat f00d, paper, 80 test clips, budget small"
    assert "budget: small: 3 epochs" in words(first)
    labels = dict(choice.options)
    other = page(**labels["mtat f00d, paper, 80 test clips, budget paper"].choices)
    assert "budget: paper: the paper's schedule" in words(other)
    assert [row[-1] for row in rows(tables(other)[4])].count("not run") == 12
    assert words(page(measured="nonsense")) == words(first)


def test_budgets_and_protocols_of_one_name_are_told_apart(bare_home: Path) -> None:
    a_search(bare_home, "a", [trained(NET), trained(NET, seed=1, tag_hash="other")])
    a_search(bare_home, "b", [trained(MELS)], replace(ABOUT, budget="small: 9 epochs; not the paper's"))
    (menu,) = [block for block in page().blocks if isinstance(block, Choice)]
    labels = dict(menu.options)
    named = "mtat f00d, paper, 80 test clips, budget small"
    keys = [label.partition(" (")[2] for label in labels if label.startswith(f"{named}: 3 epochs (")]
    assert (len(labels), len(set(keys)), f"{named}: 9 epochs" in labels) == (3, 2, True), labels
    for label, link in labels.items():
        (shown,) = [block for block in page(**link.choices).blocks if isinstance(block, Choice)]
        assert shown.chosen == label


def test_a_network_with_other_options_is_not_the_papers(bare_home: Path) -> None:
    done = trained(NET)
    wider = replace(done, options={**done.options, "filters": "double"})
    folder, new = (files.trial_folder(each.signature()) for each in (done, wider))
    folder.rename(new)
    a_search(bare_home, "s", [wider])
    _, ours, told = half_of(page(), 3, longer=True, frames="81 frames")
    assert (ours.text, told.verdict) == ("", "not run")


def test_seeds_are_one_number(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(NET, seed=0), trained(NET, seed=1)])
    _, ours, _ = half_of(page(), 3, longer=True, frames="81 frames")
    assert ours.hint == "2 seeds, by artist"


def test_depth_is_drawn_for_each_m(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(NET), trained(DEEPER)])
    picture = figures(page())["depth"]
    titles = [each["text"] for each in picture.layout["annotations"]]
    assert titles == ["m = 2", "m = 3", "m = 4", "m = 5"]
    drawn = {(each["xaxis"], each["name"]): each for each in picture.traces}
    ours = drawn["x2", "ours, longer input"]
    assert ours["x"] == [4, 5]
    assert all(above > 0 for above in ours["error_y"]["array"])
    assert drawn["x2", "paper, longer input"]["y"][-1] == 0.9055
    assert drawn["x", "ours, longer input"]["x"] == []
    assert [key for key, each in drawn.items() if each["showlegend"]] == [
        ("x", "paper, shorter input"),
        ("x", "paper, longer input"),
        ("x2", "ours, longer input"),
    ]
    assert picture.layout["xaxis2"]["title"]["text"] == "depth n (modules)"


def test_a_broken_trial_costs_the_page_a_line(bare_home: Path) -> None:
    bad, good = trained(NET), trained(DEEPER)
    (files.trial_folder(bad.signature()) / files.RESULT).write_text("{")
    a_search(bare_home, "s", [bad, good])
    shown = page()
    assert "s, trial 0: " in words(shown)
    assert half_of(shown, 3, longer=True, frames="243 frames")[1].text


def test_networks_that_this_zoo_does_not_have_cost_a_line(bare_home: Path) -> None:
    done = trained(NET)
    strange = replace(done, network="samplecnn_of_old")
    files.trial_folder(done.signature()).rename(files.trial_folder(strange.signature()))
    a_search(bare_home, "s", [strange])
    assert "samplecnn_of_old" in words(page())


def test_msd_stands_in_its_own_columns(bare_home: Path) -> None:
    name = "samplecnn_m3_n9_s3"
    settings = with_result(name, 0.88)
    path = files.trial_folder(settings.signature()) / files.RESULT
    result = files.read_json(path)
    result["protocol"] |= {"dataset": "msd", "clips": TEST_CLIPS["msd", "paper"]}
    files.write_json(path, result)
    a_search(bare_home, "s", [settings])
    row = rows(tables(page())[5])[-1]
    assert row[3:] == ["0.9055", "", "not run", "0.8812", "0.8800 (0.870-0.890)", "reproduced"]


def test_without_results_the_page_says_how_to_begin(bare_home: Path) -> None:
    shown = page()
    assert "python -m search.run space=table2" in words(shown)
    assert not shown.live


def test_the_zoo_is_where_the_numbers_come_from() -> None:
    assert sum(len(half.lines) for pair in layout.table_2() for half in pair) == 42
    assert len(layout.table_3()) == 13
