"""What a sampler proposes: any of Optuna's, no point twice, and architectures alike."""

import io
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hands import a_job
from proposals import MEMORY, NESTED, a_decider, a_space, run
from rich.console import Console

import zoo
from search.errors import ConfigError
from search.planning.job import Job
from search.spaces import Point, Space, joint, tuned
from search.study import ledger, objectives, sampling
from search.study.deciding import Decider
from search.words import read_words


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("sampler", ["QMCSampler", "NSGAIIISampler", "NSGAIISampler"])
def test_any_sampler_of_optuna_is_had_by_its_name_and_takes_the_seed(sampler: str) -> None:
    words = ("space=tuned", "trials=5", f"sampler.name={sampler}", MEMORY)
    proposed = []
    for seed in (0, 0, 7):
        decider = a_decider(*words, f"seed={seed}")
        run(decider)
        proposed.append([each.settings.options["dropout"] for each in decider.ended()])
    assert len(proposed[0]) == 5
    assert proposed[0] == proposed[1] != proposed[2]


@pytest.mark.usefixtures("fresh_home")
def test_a_sampler_gets_its_arguments_and_none_of_another_sampler() -> None:
    settings = read_words(["sampler.name=QMCSampler", "sampler.arguments.qmc_type=halton"])
    assert (settings.sampler.name, dict(settings.sampler.arguments)) == ("QMCSampler", {"qmc_type": "halton"})
    assert read_words(["pruner.name=ThresholdPruner", "pruner.arguments.lower=0.6"]).pruner.arguments == {
        "lower": 0.6
    }


@pytest.mark.usefixtures("fresh_home")
def test_a_sampler_that_can_not_be_had_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^Optuna has no optuna.samplers.CmaSampler; did you mean CmaEsSampler\?$"
    ):
        a_decider("space=tuned", "sampler.name=CmaSampler", MEMORY)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^CmaEsSampler needs a package that is not here: pip install cmaes$"
    ):
        a_decider("space=tuned", "sampler.name=CmaEsSampler", MEMORY)


@pytest.mark.usefixtures("fresh_home")
def test_architectures_are_tried_alike_with_sampled_trainings() -> None:
    ran = run(a_decider("space=tuned", "trials=9", MEMORY))
    tried = [each.settings.network for each in ran]
    assert tried == [*tuned.NETWORKS * 2, tuned.NETWORKS[0]]
    assert len({each.settings.training.learning_rates for each in ran}) == 9


@pytest.mark.usefixtures("fresh_home")
def test_more_trials_go_on_with_the_architecture_whose_turn_it_is() -> None:
    run(a_decider("space=tuned", "trials=5"))
    more = run(a_decider("space=tuned", "trials=8"))
    assert [each.settings.network for each in more] == tuned.NETWORKS[1:]


@pytest.mark.usefixtures("fresh_home")
def test_fewer_trials_than_architectures_are_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^trials=3: space tuned has 4 architectures to be tried alike; give trials=4 or a multiple of it$",
    ):
        a_decider("space=tuned", "trials=3", MEMORY)


def test_the_best_of_each_m_are_the_papers() -> None:
    aucs = [zoo.entry(name).paper[0].auc for name in tuned.NETWORKS]
    assert sorted(aucs) == [0.9026, 0.9040, 0.9041, 0.9055]


TWO = """
ARCHITECTURES = [{"n": 3}, {"n": 4}]
def sample(trial):
    n = trial.suggest_categorical("n", [3, 4])
    choices = [0.0, 0.1, 0.2]
    dropout = trial.suggest_categorical("dropout", choices) if n == 3 else 0.5
    return Point(f"samplecnn_m3_n{n}_s81", options={"dropout": dropout})
"""


def test_an_architecture_of_which_nothing_is_left_leaves_its_turns_to_the_others(fresh_home: Path) -> None:
    decider = a_decider(a_space(fresh_home, TWO), "trials=20", "sampler=random", MEMORY)
    ran = run(decider)
    assert sorted((each.settings.options["n"], each.settings.options["dropout"]) for each in ran) == [
        (3, 0.0),
        (3, 0.1),
        (3, 0.2),
        (4, 0.5),
    ]
    assert decider.exhausted


def test_a_space_is_a_grid_or_has_architectures(fresh_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"has both GRID and ARCHITECTURES; a space is one or the other$"):
        a_job(a_space(fresh_home, "GRID = ARCHITECTURES = [{}]\ndef sample(trial): ..."))


def test_every_point_of_a_space_is_gone_through_once(fresh_home: Path) -> None:
    space = a_job(a_space(fresh_home, NESTED)).space
    points = list(sampling.every_point(space, {}))
    assert len(points) == 3 + 2 * 2 * 3 == len({str(point) for point in points})
    assert len(list(sampling.every_point(space, {"n": 4}))) == 6


@pytest.mark.parametrize("sampler", ["BruteForceSampler", "QMCSampler"])
def test_a_sampler_that_is_done_before_the_space_is_leaves_the_rest_to_us(
    sampler: str, fresh_home: Path
) -> None:
    ran = run(a_decider(a_space(fresh_home, NESTED), "trials=30", f"sampler.name={sampler}", MEMORY))
    assert len({each.signature for each in ran}) == len(ran) == 15


RARE = """
def sample(trial):
    at = trial.suggest_int("at", 0, 1499)
    return Point("samplecnn_m3_n4_s81", options={"dropout": max(at - 1490, 0) / 10})
"""


def test_what_random_draws_do_not_find_is_found_by_going_through_all(fresh_home: Path) -> None:
    ran = run(a_decider(a_space(fresh_home, RARE), "trials=10", "sampler=random", MEMORY))
    assert len({each.settings.options["dropout"] for each in ran}) == 10


def test_the_joint_space_holds_what_the_paper_varied_and_what_it_did_not() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    joint.sample(trial)
    assert set(trial.params) == {
        *("m", "input", "log2_stride", "filters", "first_filters", "dropout", "init"),
        *("learning_rate", "batch_size"),
    }


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_several_objectives_give_the_front_that_nothing_beats(sampler: str) -> None:
    words = ("space=tuned", "trials=8", "objectives=[auc,macs:min]", f"sampler={sampler}")
    decider = a_decider(*words)
    scores = dict(zip(tuned.NETWORKS, (0.7, 0.9, 0.8, 0.6), strict=True))
    run(decider, lambda assignment: scores[assignment.settings.network])
    front = objectives.front(decider.job, [each.settings for each in decider.ended()])
    values = {(one.values[0], one.values[1]) for one in front}
    everyone = [
        (scores[each.settings.network], decider.job.work(each.settings).multiply_adds)
        for each in decider.ended()
    ]
    assert values == {
        one for one in everyone if not any(o[0] >= one[0] and o[1] <= one[1] and o != one for o in everyone)
    }
    shown = [one.values[0] for one in front]
    assert shown == sorted(shown, reverse=True)
    assert a_decider(*words).has_all()


@pytest.mark.usefixtures("fresh_home")
def test_the_objectives_are_part_of_what_a_search_is() -> None:
    plain = a_job("space=tuned")
    assert a_job("space=tuned", "objectives=[auc:max]").identity == plain.identity
    assert a_job("space=tuned", "objectives=[auc:max,macs:min]").study != plain.study


@pytest.mark.usefixtures("fresh_home")
def test_epochs_are_written_down_with_several_objectives_too() -> None:
    decider = a_decider("space=tuned", "objectives=[auc,macs]", MEMORY)
    one = decider.next()
    assert one is not None
    decider.record(one.number, 1, 0.7)
    assert not decider.should_stop(one.number)
    assert decider.study.get_trials()[one.number].intermediate_values == {1: 0.7}


@cache
def table_2() -> dict[tuple[int, str], dict[int, tuple[int, str, float]]]:
    """(m, short or long) -> stride -> depth, name and published AUC."""
    found: dict[tuple[int, str], dict[int, tuple[int, str, float]]] = {}
    for name in zoo.names(table="table2"):
        entry = zoo.entry(name)
        m, n, stride = (int(entry.options[key]) for key in ("m", "n", "stride"))
        length = "long" if m**n * stride == joint.INPUTS[m][1] else "short"
        auc = next(row.auc for row in entry.paper if row.table == "table2")
        found.setdefault((m, length), {})[stride] = (n, name, auc)
    return found


def lookup(trial: optuna.Trial) -> Point:
    """Table 2 in the encoding of the joint space: m, short or long, and the stride on a scale that all share."""
    m = trial.suggest_categorical("m", [2, 3, 4, 5])
    rows = table_2()[m, trial.suggest_categorical("input", ["short", "long"])]
    log2_stride = trial.suggest_float("log2_stride", 1.0, math.log2(joint.LONGEST_STRIDE))
    stride, _ = joint.nearest({stride: row[0] for stride, row in rows.items()}, log2_stride)
    return Point(rows[stride][1])


@cache
def lookup_job(sampler: str) -> Job:
    job = a_job("space=joint", f"sampler={sampler}", "trials=42", MEMORY)
    return replace(job, space=Space("lookup", "", lookup, None, "table2", "lookup"))


def trainings_to_the_best(sampler: str, seed: int) -> int:
    """How many distinct networks a search trains until it has trained the best row of Table 2."""
    job = lookup_job(sampler)
    job = replace(job, settings=replace(job.settings, seed=seed))
    decider = Decider(ledger.open_study(job), job)
    aucs = {name: auc for rows in table_2().values() for _, name, auc in rows.values()}
    for trained in range(1, 43):
        assignment = decider.next()
        assert assignment is not None
        if assignment.settings.network == "samplecnn_m3_n9_s3":
            return trained
        decider.finish(assignment.number, {"valid": {"roc_auc": aucs[assignment.settings.network]}})
    return 43


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_the_best_of_table_2_is_found_within_17_trainings(sampler: str) -> None:
    took = sorted(trainings_to_the_best(sampler, seed) for seed in range(20))
    assert took[17] <= 17, took  # the 90th percentile of 20


@pytest.mark.usefixtures("fresh_home")
def test_the_front_is_shown_with_its_objectives() -> None:
    decider = a_decider("space=tuned", "trials=4", "objectives=[auc,macs]", MEMORY)
    run(decider)
    found = objectives.front(decider.job, [each.settings for each in decider.ended()])
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(objectives.as_table(decider.job, found))
    shown = console.export_text()
    assert "auc:max" in shown
    assert "macs:min" in shown
    assert found[0].settings.network in shown


def test_a_space_that_refuses_its_points_is_not_walked_for_days(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Refusing:
        def at(self, trial: Any) -> None:
            asked.append(trial.suggest_int("n", 0, 10**6))
            raise ConfigError("no network is like this")

    monkeypatch.setattr(sampling, "RANDOM_DRAWS", 3)
    monkeypatch.setattr(sampling, "MOST_WALKED", 50)
    assert list(sampling.others(Refusing(), {}, 0)) == []  # type: ignore[arg-type]
    assert len(asked) == 53


@pytest.mark.usefixtures("fresh_home")
def test_an_argument_that_a_sampler_takes_and_cannot_work_with_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^TPESampler can't work with .*'n_startup_trials': 'abc'"):
        a_decider("space=joint", "sampler.arguments.n_startup_trials=abc", MEMORY)
