"""What a sampler proposes: any of Optuna's, no point twice, architectures alike, and what was known before."""

import io
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hands import a_job
from rich.console import Console

import zoo
from search import files
from search.errors import ConfigError
from search.planning.job import Job
from search.spaces import Point, Space, joint, tuned
from search.study import ledger, objectives, sampling
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.words import read_words

MEMORY = "storage=sqlite:///:memory:"  # for tests that start one driver only


def a_decider(*words: str) -> Decider:
    job = a_job(*words)
    return Decider(ledger.open_study(job), job)


def run(decider: Decider, score: Any = lambda assignment: 0.5) -> list[Assignment]:
    """Let every trial end well, one after the other."""
    ran = []
    while assignment := decider.next():
        end(decider, assignment, score(assignment))
        ran.append(assignment)
    return ran


def end(decider: Decider, assignment: Assignment, score: float) -> None:
    result = {
        "signature": assignment.signature,
        "valid": {"roc_auc": score, "pr_auc": score / 2, "loss": 1 - score},
        "seconds": 2.0,
    }
    files.write_json(files.trial_folder(assignment.signature) / files.RESULT, result)
    decider.finish(assignment.number, result)


def a_space(folder: Path, text: str) -> str:
    file = folder / "mine.py"
    file.write_text(f'"""Mine."""\nfrom search.spaces import Point\n{text}')
    return f"space={file}"


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


NESTED = """
def sample(trial):
    n = trial.suggest_int("n", 3, 5)
    options = {"first": trial.suggest_int("first", 16, 32, step=16)} if n > 3 else {}
    options["dropout"] = trial.suggest_float("dropout", 0, 0.2, step=0.1)
    return Point(f"samplecnn_m3_n{n}_s81", options=options)
"""


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


@pytest.mark.parametrize("space", [joint, tuned])
def test_a_prior_lies_where_the_space_has_its_network(space: Any) -> None:
    reached = {name: space.prior(name) for name in zoo.names(table="table2")}
    for name, params in reached.items():
        if params:
            assert space.sample(optuna.trial.FixedTrial(params)).network == name
    assert sum(params is not None for params in reached.values()) == (42 if space is joint else 4)


@pytest.mark.usefixtures("fresh_home")
def test_the_papers_rows_inform_the_sampler_and_are_nothing_else() -> None:
    decider = a_decider("space=joint", "trials=3", "prior=table2", MEMORY)
    prior = [trial for trial in decider.study.get_trials() if "prior" in trial.user_attrs]
    assert len(prior) == 42
    assert max(trial.value for trial in prior) == 0.9055
    assert (decider.settled(), decider.ended(), decider.missing()) == ([], [], 3)
    assert len(run(decider)) == 3
    assert len(decider.ended()) == 3


@pytest.mark.usefixtures("fresh_home")
def test_a_prior_enters_once_and_leaves_the_search_the_same() -> None:
    run(a_decider("space=tuned", "trials=4"))
    words = ("space=tuned", "trials=5", "prior=table2")
    run(a_decider(*words))
    decider = a_decider(*words)
    assert sum("prior" in trial.user_attrs for trial in decider.study.get_trials()) == 4
    assert (len(decider.ended()), decider.has_all()) == (5, True)


@pytest.mark.usefixtures("fresh_home")
def test_a_prior_that_was_interrupted_is_entered_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("space=joint", "trials=3", "prior=table2")
    entered = []

    def interrupted(study: optuna.Study, trial: Any) -> None:
        if len(entered) == 5:
            raise KeyboardInterrupt
        entered.append(trial.params)
        add(study, trial)

    add = optuna.Study.add_trial
    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "add_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            a_decider(*words)
    prior = [trial.params for trial in a_decider(*words).study.get_trials() if "prior" in trial.user_attrs]
    assert len(prior) == 42
    assert all(prior.count(params) == 1 for params in prior)


@pytest.mark.usefixtures("fresh_home")
def test_an_earlier_study_of_the_space_informs_the_sampler() -> None:
    run(a_decider("space=tuned", "trials=4", "study=early"))
    decider = a_decider("space=tuned", "trials=4", "study=late", "seed=3", "prior=early")
    assert [trial.user_attrs["prior"] for trial in decider.study.get_trials()] == ["early"] * 4
    assert decider.missing() == 4


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["space=table3", "prior=table2"],
            "prior=table2: space=table3 trains all of its grid; leave prior out",
        ),
        (
            ["space=joint", "prior=erly"],
            "prior=erly: the ledger has no such study; did you mean prior=early?",
        ),
        (["space=joint", "study=me", "prior=me"], "prior=me is this very search; give an earlier one"),
        (["space=joint", "prior=early"], "prior=early was a search of another space than joint: "),
        (
            ["space=tuned", "objectives=[macs:min]", "prior=early"],
            "prior=early was a search for other objectives than macs:min",
        ),
        (
            ["space=joint", "objectives=[pr_auc]", "prior=table2"],
            "objectives: the result of samplecnn_m2_n6_s256 has no 'pr_auc'",
        ),
    ],
)
def test_a_prior_that_is_none_is_refused(words: list[str], said: str) -> None:
    run(a_decider("space=tuned", "trials=4", "study=early"))
    with pytest.raises(ConfigError) as refused:
        a_decider("trials=4", *words)
    assert str(refused.value).startswith(said)


def test_a_space_that_does_not_know_its_networks_takes_no_table(fresh_home: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"space mine does not say where its networks lie; give it a function"
    ):
        a_decider(a_space(fresh_home, NESTED), "prior=table2", MEMORY)


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
