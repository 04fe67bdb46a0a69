"""Page "Leaderboard": one protocol at a time, ties as ties, every tag of every row, and two compared."""

from dataclasses import replace
from pathlib import Path

import pytest
from clip_scores import TAGS, a_network, leave_trial
from made_searches import ABOUT, a_search, settings, trained
from page_blocks import figures, rows, tables, texts_in, words

from dashboards import duel, ranking
from dashboards.aside import MOST_KEPT, Aside
from dashboards.blocks import Cell, Choice, Page
from dashboards.reading import Reading
from search import files
from search.compare import verdict_line
from search.errors import SearchError
from search.results.leaderboard import unranked
from search.scoring import comparing, resamples, score_table

NETWORKS = ("samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "samplecnn_m2_n6_s256", "melcnn_m3_n4_s729_w729")


def page(reading: Reading | None = None, **choices: str) -> Page:
    return ranking.page(reading or Reading(), choices)


@pytest.fixture
def four(bare_home: Path) -> list[str]:
    """Two good networks and two bad ones, of two searches; their signatures."""
    made = [trained(name, ear) for name, ear in zip(NETWORKS, (4.0, 4.0, 0.3, 0.3), strict=True)]
    a_search(bare_home, "a", made[:3])
    a_search(bare_home, "b", made[1:])
    return [each.signature() for each in made]


def choice(page: Page, label: str) -> Choice:
    (found,) = [block for block in page.blocks if isinstance(block, Choice) and block.label == label]
    return found


@pytest.mark.usefixtures("four")
def test_all_searches_are_ranked_together_and_ties_share_a_rank() -> None:
    (table,) = tables(page())
    assert {row[1] for row in rows(table)[:2]} == set(NETWORKS[:2])
    ranks = [row[0] for row in table.rows]
    assert all(isinstance(rank, Cell) for rank in ranks)
    assert [(rank.text, rank.verdict) for rank in ranks if isinstance(rank, Cell)] == [
        *[("1", "tie")] * 2,
        *[("3", "tie")] * 2,
    ]
    assert "95% interval" in table.columns
    assert "by artist" in table.columns
    assert "mtat f00d, convention paper, 80 test clips" in table.caption


@pytest.mark.usefixtures("four")
def test_a_training_of_two_searches_stands_there_once_with_the_newest() -> None:
    (table,) = tables(page())
    of = {row[1].split()[0]: row[-2] for row in rows(table)}
    assert of == {NETWORKS[0]: "a", NETWORKS[1]: "b", NETWORKS[2]: "b", NETWORKS[3]: "b"}
    assert table.rows[0][-2].link.page == "search"  # type: ignore[union-attr]


@pytest.mark.usefixtures("four")
def test_dots_carry_both_intervals_and_a_band_for_each_rank() -> None:
    dots = figures(page())["dots"]
    assert [trace["name"] for trace in dots.traces] == ["95 % by artist", "95 % by clip"]
    for trace in dots.traces:
        assert all(width > 0 for width in (*trace["error_x"]["array"], *trace["error_x"]["arrayminus"]))
    assert [(band["y0"], band["y1"]) for band in dots.layout["shapes"]] == [(-0.5, 1.5)]
    assert dots.layout["yaxis"]["ticktext"][2].startswith("3  ")


@pytest.mark.usefixtures("four")
def test_tags_stand_by_their_support_and_show_it() -> None:
    heat = figures(page())["tags"]
    result = page_results()[0]
    support = {tag["tag"]: tag["positives"] for tag in result["tags"]}
    order = sorted(TAGS, key=lambda tag: -support[tag])
    assert heat.layout["yaxis"]["ticktext"] == [f"{tag} ({support[tag]})" for tag in order]
    (trace,) = heat.traces
    assert len(trace["z"]) == len(TAGS)
    assert all(len(row) == 4 for row in trace["z"])
    best = {tag["tag"]: tag["roc_auc"] for tag in result["tags"]}
    assert [row[0] for row in trace["z"]] == [best[tag] for tag in order]


def page_results() -> list[dict]:
    """Of the rows of the page, in its order."""
    searches = Reading().searches()
    known = {record.signature: record for search in searches for record in search.records}
    read = [files.read_json(files.trial_folder(each) / files.RESULT) for each in known]
    return sorted(read, key=lambda result: -result["valid"]["roc_auc"])


def test_protocols_are_never_mixed(bare_home: Path) -> None:
    a_search(
        bare_home, "s", [trained(NETWORKS[0]), trained(NETWORKS[1]), trained(NETWORKS[2], convention="all")]
    )
    first = page()
    assert {row[1] for row in rows(tables(first)[0])} == set(NETWORKS[:2])
    options = dict(choice(first, "Protocol").options)
    other = page(**options["mtat f00d, all, 80 test clips"].choices)
    assert [row[1] for row in rows(tables(other)[0])] == [NETWORKS[2]]
    assert "convention all" in words(other)


def test_the_papers_numbers_stand_there_if_all_searches_are_of_one_table(bare_home: Path) -> None:
    a_search(bare_home, "a", [trained(NETWORKS[0])])
    assert "paper" in tables(page())[0].columns
    a_search(bare_home, "b", [trained(NETWORKS[1])], replace(ABOUT, paper_table=None))
    assert "paper" not in tables(page())[0].columns


def test_of_two_the_page_says_which_is_better_and_in_which_tags(four: list[str]) -> None:
    reading = Reading()
    first = page(reading, left=four[0], right=four[2])
    assert (
        "A is better than B: by artist, the 95 % interval of the paired difference of test ROC-AUC"
        in words(first)
    )
    assert "Which tags they differ in is being computed" in words(first)
    assert first.live
    reading.aside.wait(60)
    then = page(reading, left=four[0], right=four[2])
    assert not then.live
    bars = figures(then)["tags-apart"]
    shown = {
        tag.split(":")[0]: x
        for trace in bars.traces
        for tag, x in zip(trace["text"], trace["x"], strict=True)
    }
    sides = [[score_table.read(files.trial_folder(each) / files.SCORES)] for each in (four[0], four[2])]
    assert shown == {each.tag: each.difference for each in comparing.tag_differences(*sides)}
    assert {trace["name"] for trace in bars.traces} == {"A is better", "A is worse", "cannot be told apart"}


def test_what_was_kept_gives_the_comparison_that_the_clips_give(four: list[str]) -> None:
    kept, clips = [], []
    for signature in (four[0], four[1]):
        folder = files.trial_folder(signature)
        resampled = resamples.read(folder / files.RESAMPLES) or resamples.of_trial(signature)
        assert resampled is not None
        kept.append([(files.read_json(folder / files.RESULT), resampled)])
        clips.append([score_table.read(folder / files.SCORES)])
    one, other = comparing.compare_resampled(*kept), comparing.compare_seeds(*clips)
    assert verdict_line(one) == verdict_line(other)
    for name, each in other.metrics.items():
        assert vars(one.metrics[name].by_clip) == pytest.approx(vars(each.by_clip))
        assert one.by_artist is not None


def test_two_are_chosen_in_two_menus_that_keep_each_other(four: list[str]) -> None:
    shown = page(left=four[0])
    left, right = choice(shown, "A"), choice(shown, "B")
    assert left.chosen.endswith(f"({four[0][:6]})")
    assert right.chosen == "choose"
    assert all(link.choices.get("left") == four[0] for _, link in right.options)
    assert {link.choices.get("left") for _, link in left.options} == {None, *four}
    assert "A and B are the same" in words(page(left=four[0], right=four[0]))
    assert choice(page(left="nonsense", right=four[0]), "A").chosen == "choose"


def test_a_trial_without_resamples_costs_its_rank_and_a_line(four: list[str]) -> None:
    (files.trial_folder(four[0]) / files.RESAMPLES).write_bytes(b"no tensors")
    shown = page()
    table = rows(tables(shown)[0])
    assert [(row[0], row[1]) for row in table][-1] == ("", NETWORKS[0])
    assert [row[0] for row in table[:3]] == ["1", "2", "2"]
    assert f"{NETWORKS[0]} (trial {four[0]}) has no rank" in words(shown)
    assert "not kept" in words(page(left=four[0], right=four[1]))


def test_only_the_best_are_shown_of_many(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "SIZES", (2, 3))
    a_search(bare_home, "s", [trained(name, 1.0 + at) for at, name in enumerate(NETWORKS)])
    assert [row[1] for row in rows(tables(page())[0])] == [*NETWORKS[:1:-1]]
    assert len(tables(page(rows="3"))[0].rows) == 3
    assert choice(page(), "Rows").chosen == "the best 2"


def test_hostile_names_stay_text(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_scores.TAGS", ("<script>alert(1)</script>", '<a href="javascript:x">', "a&b"))
    reading, made = Reading(), [trained(name) for name in NETWORKS[:2]]
    a_search(bare_home, "s", made)
    one, other = (each.signature() for each in made)
    page(reading, left=one, right=other)
    reading.aside.wait(60)
    shown = figures(page(reading, left=one, right=other))
    for name in ("tags", "tags-apart"):
        told = " ".join(texts_in(shown[name]))
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in told
        assert "a&amp;b" in told
        assert "<script" not in told
        assert "<a" not in told


def test_without_results_the_page_says_how_to_begin(bare_home: Path) -> None:
    a_search(bare_home, "s", [settings(NETWORKS[0])])
    shown = page()
    assert "No training has ended yet" in words(shown)
    assert "result.json is gone" in words(shown)


def test_what_takes_long_is_computed_once_and_errors_are_kept() -> None:
    aside, calls = Aside(), list[int]()

    def refuse() -> None:
        calls.append(1)
        raise SearchError("no")

    assert aside.get("x", refuse) is None
    aside.wait(60)
    found = [aside.get("x", refuse) for _ in range(3)]
    assert [str(each) for each in found] == ["no"] * 3
    assert calls == [1]
    for key in range(MOST_KEPT + 1):
        aside.get(key, lambda: "done")
        aside.wait(60)
    assert aside.get(MOST_KEPT, refuse) == "done"
    assert aside.get("x", refuse) is None, "the oldest is forgotten"
    aside.wait(60)


def test_sides_of_several_seeds_are_compared_by_their_means(bare_home: Path) -> None:
    made = [leave_trial(NETWORKS[0], a_network(4.0, seed), seed) for seed in (0, 1)]
    worse = leave_trial(NETWORKS[1], a_network(0.3, 7))
    board = unranked([*made, worse], None)
    results = {result["signature"]: result for result, _ in (*made, worse)}
    for signature in results:
        resamples.of_trial(signature)
    blocks, _ = duel.blocks(Reading(), results, board[0], board[1])
    mean = sum(result["test"]["roc_auc"] for result, _ in made) / 2
    assert f"{mean:.4f}" in words(Page("", "", blocks))
