"""Page "Search": how far it is, how its trainings learn, what matters, what failed; live while something runs."""

import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_searches import ABOUT, Made, a_search, failed, leave_epochs, settings, trained
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from page_blocks import figures, rows, tables, texts_in, words

from dashboards import importance, parallel, progress, rendering, searching
from dashboards.blocks import Cell, Choice, Link, Page, Table
from dashboards.columns import Column, columns, names
from dashboards.curves import MOST, STAGE, WITHIN
from dashboards.reading import LATELY_SECONDS, Reading
from search import files
from search.errors import SearchError
from search.settings import TrialSettings
from search.study.driving import only_driver
from search.study.objectives import unbeaten
from search.study.records import ELSEWHERE, GPUS, WORK

ONE, OTHER, THIRD = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "samplecnn_m2_n6_s256"
MEL = "melcnn_m3_n4_s729_w729"


def page(reading: Reading | None = None, **choices: str) -> Page:
    return searching.page(reading or Reading(), choices)


def running(of: TrialSettings, epochs: int = 1, **told: Any) -> Made:
    leave_epochs(of, epochs)
    return Made(of, TrialState.RUNNING, told=told)


def choice(page: Page, label: str) -> Choice:
    (found,) = [block for block in page.blocks if isinstance(block, Choice) and block.label == label]
    return found


def table_with(page: Page, column: str) -> Table:
    return next(table for table in tables(page) if column in table.columns)


def test_progress_counts_every_end(bare_home: Path) -> None:
    made = [trained(ONE), trained(OTHER), failed(settings(THIRD), "lost", "gone")]
    made += [Made(settings(ONE, 1), TrialState.PRUNED), running(settings(OTHER, 1)), trained(ONE, seed=2)]
    a_search(bare_home, "s", made)
    with only_driver("s"):
        told = words(page())
    for line in (
        "state: running",
        "finished: 3 of 9 planned",
        "running: 1",
        "waiting: 3",
        "stopped early: 1",
        "failed: 1",
    ):
        assert line in told


def test_what_a_driver_left_behind_is_not_said_to_run(bare_home: Path) -> None:
    a_search(bare_home, "s", [Made(settings(ONE), TrialState.RUNNING), trained(OTHER)])
    shown = page()
    assert "state: interrupted with 1 trainings under way; the same command goes on" in words(shown)
    assert "running: 0" in words(shown)
    assert "not begun or left off: 8" in words(shown)
    assert not shown.live


def test_a_search_with_all_it_wanted_has_ended(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE), trained(OTHER)], replace(ABOUT, planned=2))
    assert "state: ended" in words(page())
    a_search(bare_home, "old", [trained(ONE)], replace(ABOUT, planned=None))
    assert "finished: 1\n" in words(page(study="old"))


def test_cost_counts_gpus_and_leaves_out_what_others_trained(bare_home: Path) -> None:
    done = [trained(ONE, epochs=3), trained(OTHER, epochs=3)]  # of 20 s each
    a_search(bare_home, "s", [Made(done[0], told={GPUS: 2.0}), Made(done[1], told={ELSEWHERE: True})])
    assert "cost so far: 2 min of GPUs" in words(page())
    a_search(bare_home, "cpu", [done[0], failed(done[1], "lost", "gone")])
    assert "cost so far: 2 min of training on processors" in words(page(study="cpu"))


def test_time_left_follows_from_what_was_measured(bare_home: Path) -> None:
    """60 s for 1 T; 3 T of 10 T have begun, of the one that runs half is left."""
    schedule = {"learning_rates": (0.01,), "epochs_per_stage": 4}
    under_way = running(settings(OTHER, **schedule), 2, **{WORK: 2e12})
    about = replace(ABOUT, planned=9, planned_work=10e12)
    a_search(bare_home, "s", [Made(trained(ONE, epochs=3), told={WORK: 1e12}), under_way], about)
    with only_driver("s"):
        told = words(page())
    assert (
        "time left: about 8 min: 8 T multiply-adds are left, 1 trainings took 60 s for each T, 1 at once"
        in told
    )
    before = time.time() - 2 * LATELY_SECONDS
    for file in files.trial_folder(under_way.settings.signature()).iterdir():
        os.utime(file, (before, before))
    assert "time left" not in words(page()), "nobody drives it any more"


def test_time_left_is_not_guessed_before_anything_was_measured(bare_home: Path) -> None:
    a_search(bare_home, "s", [running(settings(ONE), **{WORK: 1e12})])
    assert "time left: not known before a training has ended" in words(page())
    a_search(bare_home, "old", [running(settings(OTHER)), trained(ONE)])
    assert "time left" not in words(page(study="old")), "an earlier release noted no work"


def test_a_sampled_search_expects_of_the_rest_what_the_first_took(bare_home: Path) -> None:
    about = replace(ABOUT, planned=5)
    a_search(bare_home, "s", [Made(trained(ONE, epochs=3), told={WORK: 1e12})], about)
    (search,) = Reading().searches()
    trials = [Reading().trial(each) for each in search.records]
    assert progress.time_left(search, trials, []).startswith("about 4 min: 4 T multiply-adds")


def test_what_runs_is_shown_with_its_last_epoch(bare_home: Path) -> None:
    a_search(bare_home, "s", [running(settings(ONE), 3), trained(OTHER)])
    shown = page()
    assert rows(table_with(shown, "running")) == [[ONE, "3", "2", "0.1667", "0.2000", "0.8667", "60 s", ""]]
    assert shown.live


def test_curves_show_every_epoch_and_where_stages_begin(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE, epochs=5), trained(OTHER, epochs=3)])
    curves = figures(page())["curves"]
    assert len(curves.traces) == 4
    first = next(each for each in curves.traces if each["name"] == ONE and each["yaxis"] == "y")
    assert first["x"] == [1, 2, 3, 4, 5]
    assert first["y"] == [row["valid_roc_auc"] for row in files.read_epochs(first["legendgroup"])]
    assert first["marker"]["size"] == [STAGE, WITHIN, STAGE, WITHIN, STAGE]
    assert "shapes" not in curves.layout
    assert curves.layout["yaxis2"]["title"]["text"] == "valid loss (nats)"


def test_one_training_has_a_line_at_each_stage(bare_home: Path) -> None:
    done = trained(ONE, epochs=5)
    a_search(bare_home, "s", [done, trained(OTHER)])
    shown = page(trial=done.signature())
    curves = figures(shown)["curves"]
    assert {each["name"] for each in curves.traces} == {ONE}
    assert [each["x0"] for each in curves.layout["shapes"]] == [1, 3, 5]
    assert curves.layout["annotations"][1]["text"] == "stage 2<br>rate 0.002"
    assert choice(shown, "Curves of").chosen == ONE


def test_a_loss_that_is_no_number_is_a_gap(bare_home: Path) -> None:
    done = trained(ONE)
    path = files.trial_folder(done.signature()) / files.EPOCHS
    epochs = files.read_json(path)
    epochs[1]["valid_loss"] = float("nan")
    files.write_json(path, epochs)
    a_search(bare_home, "s", [failed(done, "diverged", "the loss is no longer a number")])
    losses = figures(page())["curves"].traces[1]["y"]
    assert losses == [epochs[0]["valid_loss"], None, epochs[2]["valid_loss"]]


def test_of_many_the_running_and_the_best_are_drawn(bare_home: Path) -> None:
    done = [trained(ONE, 0.5 + seed, seed) for seed in range(MOST + 1)]
    a_search(bare_home, "s", [*done, running(settings(OTHER))])
    shown = page()
    curves = figures(shown)["curves"]
    assert len(curves.traces) == 2 * MOST
    assert curves.traces[0]["name"] == f"{OTHER} seed 0"
    assert f"{MOST} of {MOST + 2} trainings" in curves.caption


def test_every_series_looks_different_without_colours(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE, 0.5 + seed, seed) for seed in range(MOST)])
    looks = [
        (each["line"]["dash"], each["marker"]["symbol"]) for each in figures(page())["curves"].traces[::2]
    ]
    assert len(set(looks)) == MOST


def test_parallel_coordinates_have_an_axis_for_each_setting_that_differs(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE), trained(OTHER), trained(THIRD), trained(MEL)])
    (trace,) = figures(page())["parallel"].traces
    axes = {each["label"]: each for each in trace["dimensions"]}
    assert list(axes) == ["family", "m", "n", "stride", "valid ROC-AUC"]
    assert axes["family"]["ticktext"] == ["melcnn", "samplecnn"]
    assert axes["stride"]["ticktext"] == ["243", "256", "729"]
    assert trace["line"]["color"] == axes["valid ROC-AUC"]["values"]


def test_what_spans_much_is_shown_on_log2_with_its_own_values() -> None:
    strides = parallel.dimension(Column("stride", [2, 4, 256]))
    assert strides["values"] == strides["tickvals"] == [1, 2, 8]
    assert strides["ticktext"] == ["2", "4", "256"]
    dropouts = parallel.dimension(Column("dropout", [0.1, 0.5, None]))
    assert dropouts["values"][:2] == [0.1, 0.5]
    assert dropouts["values"][2] == dropouts["tickvals"][0] < 0.1
    assert dropouts["ticktext"] == ["none", "0.1", "0.5"]
    assert parallel.dimension(Column("x", ["a", True, "a"]))["values"] == [1, 0, 1]
    assert (
        len(parallel.dimension(Column("x", [at / 99 for at in range(1, 99)]))["ticktext"])
        == parallel.MOST_TICKS
    )


def test_names_say_what_differs_and_the_seed_where_there_are_several() -> None:
    faster = settings(ONE, learning_rates=(0.05, 0.01))
    assert list(names({"a": settings(ONE), "b": settings(OTHER)}).values()) == [ONE, OTHER]
    told = names({"a": settings(ONE), "b": faster, "c": settings(ONE, 1)})
    assert told["b"] == f"{ONE} learning_rate=0.05 seed 0"
    assert [each.name for each in columns([settings(ONE), faster])] == ["learning_rate"]


def sampled(bare_home: Path, trials: int) -> None:
    """A search in which `rate` decides, `noise` does not, and `depth` is asked for at one `kind` only."""
    draws, made = random.Random(0), []
    for seed in range(trials):
        rate, noise, kind = draws.random(), draws.random(), draws.choice(["a", "b"])
        done = trained(ONE, 0.2 + 4 * rate, seed, epochs=1)
        params: dict[str, Any] = {
            "rate": (rate, FloatDistribution(0.0, 1.0)),
            "noise": (noise, FloatDistribution(0.0, 1.0)),
            "kind": (kind, CategoricalDistribution(["a", "b"])),
        }
        if kind == "a":
            params["depth"] = (draws.randint(1, 9), IntDistribution(1, 9))
        made.append(Made(done, params=params))
    a_search(bare_home, "s", made)


def test_the_parameter_that_decides_is_the_most_important(bare_home: Path) -> None:
    sampled(bare_home, 30)
    reading = Reading()
    first = page(reading)
    assert "Which parameters matter is being computed" in words(first)
    assert first.live
    reading.aside.wait(120)
    then = page(reading)
    (trace,) = figures(then)["importance"].traces
    assert trace["y"][-1] == "rate"
    assert set(trace["y"]) == {"rate", "noise", "kind", "depth"}, "conditional parameters, too"
    assert sum(trace["x"]) == pytest.approx(1)
    assert not then.live
    assert "importance" in figures(page(Reading(patient=True))), "a page that is written once waits for it"


def test_too_few_trials_are_answered_with_how_many_are_wanted(bare_home: Path) -> None:
    sampled(bare_home, 4)
    assert "can be said from 25 different settings on; 4 have ended." in words(page())


def test_one_parameter_has_no_importance(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE), trained(OTHER)])
    assert "varies one parameter only" in words(page())


def test_seeds_of_a_point_count_once() -> None:
    params = {"x": (0.5, "{}"), "y": (1.0, "{}")}
    assert importance.points([(params, 0.5), (dict(reversed(params.items())), 0.7)]) == [
        (params, pytest.approx(0.6))
    ]


def test_parameters_that_cannot_be_are_answered() -> None:
    way = '{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2]}}'
    with pytest.raises(SearchError, match="the ledger holds parameters that can't be: "):
        importance.importance([({"x": (7.0, way)}, 0.5)])


def test_the_front_is_what_nothing_beats() -> None:
    assert unbeaten([(0.9, 10), (0.8, 5), (0.8, 7), (0.9, 10), (0.7, 1), (0.6, 2)], (1, -1)) == [
        *(True, True, False, True, True, False)
    ]


def test_auc_stands_against_cost_with_its_interval(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE, 4.0), trained(ONE, 4.0, seed=1), trained(OTHER, 0.1)])
    on_front, beaten = figures(page())["front"].traces
    assert (on_front["text"], beaten["text"]) == ([ONE], [OTHER])
    assert on_front["x"] == [settings_cost(ONE)]
    assert on_front["error_y"]["array"][0] > 0


def settings_cost(network: str) -> float:
    import zoo

    return zoo.entry(network).cost(3).multiply_adds / 1e6


def test_networks_of_unknown_cost_are_counted_and_left_out(bare_home: Path) -> None:
    done = trained(ONE)
    odd = replace(settings("fcn4"), options={**settings("fcn4").options, "dropout": 0.25})
    files.trial_folder(done.signature()).rename(files.trial_folder(odd.signature()))
    a_search(bare_home, "s", [odd])
    shown = page()
    assert "front" not in figures(shown)
    assert "The cost of 1 networks is not known without building them." in words(shown)


def test_failures_are_shown_by_kind_with_the_reason(bare_home: Path) -> None:
    made = [
        failed(settings(ONE), "hang", "an epoch took 12 minutes"),
        failed(settings(OTHER), "lost", "node 10.0.0.1 is gone"),
        failed(settings(THIRD), "lost", "exit 137"),
        failed(settings(MEL), "of another release", "?"),
    ]
    a_search(bare_home, "s", made)
    shown = page()
    kinds = rows(table_with(shown, "what it means"))
    assert kinds[0] == ["lost", "2", "the process or its node is gone", "retry"]
    assert ["of another release", "1", "", ""] in kinds
    reasons = [row[:3] for row in rows(table_with(shown, "reason"))]
    assert [MEL, "of another release", "?"] in reasons
    assert reasons[0][1] == reasons[1][1] == "lost"
    assert [ONE, "hang", "an epoch took 12 minutes"] in reasons


def test_a_study_is_chosen_and_the_newest_comes_first(bare_home: Path) -> None:
    a_search(bare_home, "a", [trained(ONE)])
    a_search(bare_home, "b", [trained(OTHER)])
    assert choice(page(), "Search").chosen == "b"
    assert [label for label, _ in choice(page(), "Search").options] == ["b", "a"]
    assert rows(table_with(page(study="a"), "training"))[0][0] == ONE
    assert choice(page(study="nonsense"), "Search").chosen == "b"


def test_searches_are_filtered_by_protocol(bare_home: Path) -> None:
    a_search(bare_home, "a", [trained(ONE)])
    a_search(bare_home, "b", [failed(replace(settings(OTHER), convention="all"), "lost", "gone")])
    assert [label for label, _ in choice(page(), "Protocol").options] == [
        "all",
        "mtat f, convention all",
        "mtat f, convention paper",
    ]
    options = dict(choice(page(), "Protocol").options)
    shown = page(**options["mtat f, convention paper"].choices)
    assert "question" not in words(shown)
    assert not [each for each in shown.blocks if isinstance(each, Choice) and each.label == "Search"]
    assert rows(table_with(shown, "training"))[0][0] == ONE
    assert choice(page(protocol="nonsense"), "Protocol").chosen == "all"


def test_each_training_links_to_its_run_and_the_ranking(
    bare_home: Path, mlflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trained(ONE)
    a_search(bare_home, "s", [done])
    reading = Reading()
    monkeypatch.setattr(
        reading.runs, "address_of", lambda search, signature: f"http://m/{search}/{signature}"
    )
    row = table_with(page(reading), "training").rows[0]
    assert row[-1] == Cell("run", link=Link(address=f"http://m/s/{done.signature()}"))
    assert row[-2] == Cell("curves", link=Link("search", {"study": "s", "trial": done.signature()}))
    assert table_with(page(), "training").rows[0][-1] == Cell(""), "no server was named"
    assert "ranked: on the leaderboard" in words(page())


def test_many_trainings_are_shown_in_part(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_ROWS", 2)
    a_search(bare_home, "s", [trained(ONE), trained(OTHER), trained(THIRD)])
    assert len(table_with(page(), "training").rows) == 2
    assert choice(page(), "Rows").chosen == "the first 2"
    assert len(table_with(page(rows="all"), "training").rows) == 3


def test_a_broken_trial_costs_the_page_a_line(bare_home: Path) -> None:
    bad, strange = trained(ONE), replace(settings(THIRD), network="of_another_zoo")
    (files.trial_folder(bad.signature()) / files.EPOCHS).write_text("[{}]")
    a_search(bare_home, "s", [bad, trained(OTHER), failed(strange, "lost", "gone")])
    told = words(page())
    assert "trial 0: " in told
    assert "epochs.json is not what a trial writes" in told
    assert "trial 2: " in told
    assert "of_another_zoo" in told


def test_hostile_words_stay_text(bare_home: Path) -> None:
    hostile = '<script>alert(1)</script> & <a href="x">'
    about = replace(ABOUT, question=hostile, command=hostile, budget=hostile)
    a_search(
        bare_home, hostile, [trained(ONE), trained(OTHER), failed(settings(THIRD), hostile, hostile)], about
    )
    shown = page()
    assert words(shown).count(hostile) >= 6, "blocks carry it unchanged; the renderer escapes it"
    for figure in figures(shown).values():
        assert not [text for text in texts_in(figure) if "<script" in text or "<a " in text]
    html = rendering.whole(shown, rendering.Shell([], lambda link: "/"))
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    axis = parallel.dimension(Column(hostile, [hostile, "b"]))
    assert axis["label"] == '&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;a href="x"&gt;'
    assert axis["label"] in axis["ticktext"]


def test_without_a_search_the_page_says_how_to_start_one(bare_home: Path) -> None:
    assert words(page()) == "There is no search yet. This starts one:\npython -m search.run"
