"""What is trained next: grids whole and once, samplers without repeats, interruptions without loss. No Ray here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hands import a_job
from optuna.trial import TrialState

from search import files, spaces
from search.errors import ConfigError, SearchError
from search.planning.job import Job
from search.spaces import joint
from search.study import chosen, ledger
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.study.driving import only_driver
from search.study.records import About, Records


def a_decider(job: Job) -> Decider:
    """What a driver has after a start, or after a restart: all it knows comes from the ledger."""
    return Decider(ledger.open_study(job), job)


def result_of(assignment: Assignment, score: float = 0.5) -> dict[str, Any]:
    """What a trial leaves behind, made up here: these tests are about deciding, not about music."""
    return {"signature": assignment.signature, "valid": {"roc_auc": score}}


def run(decider: Decider, most: int = 1000) -> list[Assignment]:
    """Let every trial end well, one after the other."""
    ran = []
    while len(ran) < most and (assignment := decider.next()):
        decider.record(assignment.number, 1, 0.4)
        end(decider, assignment)
        ran.append(assignment)
    return ran


def end(decider: Decider, assignment: Assignment, score: float = 0.5) -> None:
    """The trial leaves its result behind and is settled."""
    result = leave_result(assignment, score)
    decider.finish(assignment.number, result)


def leave_result(assignment: Assignment, score: float = 0.5) -> dict[str, Any]:
    result = result_of(assignment, score)
    files.write_json(files.trial_folder(assignment.signature) / files.RESULT, result)
    return result


def states(job: Job) -> list[TrialState]:
    return [trial.state for trial in ledger.open_study(job).get_trials()]


@pytest.mark.usefixtures("fresh_home")
def test_a_grid_is_tried_whole_and_cheapest_first() -> None:
    job = a_job("space=smoke")
    ran = run(a_decider(job))
    assert sorted(each.settings.network for each in ran) == sorted(
        point.network for point in job.space.points()
    )
    costs = [job.work(each.settings).total for each in ran]
    assert costs == sorted(costs)


@pytest.mark.usefixtures("fresh_home")
def test_whoever_looks_on_is_told_how_much_there_is_to_do() -> None:
    job = a_job("space=smoke", "seeds=2")
    decider = a_decider(job)
    assignment = decider.next()
    assert assignment is not None
    (search,) = Records().searches()
    assert (search.about.planned, search.about.planned_work) == (8, sum(work.total for work in job.grid()))
    (record,) = search.records
    assert (record.outcome, record.work) == ("running", job.work(assignment.settings).total)
    sampled = About.of(a_job("space=joint", "trials=5", "seeds=2"))
    assert (sampled.planned, sampled.planned_work) == (10, None)


@pytest.mark.usefixtures("fresh_home")
def test_the_same_command_again_has_nothing_left_to_do() -> None:
    job = a_job("space=smoke")
    run(a_decider(job))
    again = a_decider(job)
    assert again.has_all()
    assert again.next() is None
    assert len(again.ended()) == 4


@pytest.mark.usefixtures("fresh_home")
def test_a_driver_that_dies_leaves_its_running_trials_to_the_next() -> None:
    job = a_job("space=smoke")
    first = a_decider(job)
    left = [first.next(), first.next()]
    first.record(left[0].number, 1, 0.7)  # and then: SIGKILL
    second = a_decider(job)
    taken = [second.next(), second.next()]
    assert [each.number for each in taken] == [each.number for each in left]
    assert [each.signature for each in taken] == [each.signature for each in left]
    for each in taken:
        end(second, each)
    run(second)
    assert states(job) == [TrialState.COMPLETE] * 4
    first_trial = ledger.open_study(job).get_trials()[left[0].number]
    assert first_trial.intermediate_values == {1: 0.7}


@pytest.mark.usefixtures("fresh_home")
def test_epochs_that_only_the_trials_folder_knows_reach_the_ledger() -> None:
    job = a_job("space=smoke")
    left = a_decider(job).next()
    epochs = [{"epoch": 1, "valid_roc_auc": 0.6}, {"epoch": 2, "valid_roc_auc": 0.65}]
    files.write_json(files.trial_folder(left.signature) / files.EPOCHS, epochs)
    a_decider(job)
    trial = ledger.open_study(job).get_trials()[left.number]
    assert trial.intermediate_values == {1: 0.6, 2: 0.65}


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_that_ended_while_its_driver_was_dead_is_not_trained_again() -> None:
    job = a_job("space=smoke")
    left = a_decider(job).next()
    leave_result(left, 0.9)
    again = a_decider(job)
    assert left.signature not in [each.signature for each in run(again)]
    assert ledger.open_study(job).get_trials()[left.number].value == 0.9


@pytest.mark.usefixtures("fresh_home")
def test_what_another_search_has_trained_is_taken_over() -> None:
    job = a_job("space=smoke", "study=one")
    assignment = a_decider(job).next()
    leave_result(assignment, 0.8)
    other = a_job("space=smoke", "study=two")
    decider = a_decider(other)
    assert len(run(decider)) == 3
    assert len(decider.ended()) == 4


@pytest.mark.usefixtures("fresh_home")
def test_more_seeds_extend_a_finished_search() -> None:
    run(a_decider(a_job("space=smoke")))
    more = a_job("space=smoke", "seeds=2")
    ran = run(a_decider(more))
    assert [each.settings.seed for each in ran] == [1] * 4
    assert len(a_decider(more).ended()) == 8
    assert len(a_decider(a_job("space=smoke")).ended()) == 4


@pytest.mark.usefixtures("fresh_home")
def test_a_failed_trial_is_named_and_tried_again_by_the_next_command_only() -> None:
    job = a_job("space=smoke")
    decider = a_decider(job)
    bad = decider.next()
    decider.fail(bad.number, "out of memory", "it was too large")
    assert bad.signature not in [each.signature for each in run(decider)]
    (failure,) = decider.failures()
    assert (failure.assignment, failure.kind, failure.why) == (bad, "out of memory", "it was too large")
    again = a_decider(job)
    assert [each.signature for each in run(again)] == [bad.signature]
    assert again.failures() == []


@pytest.mark.usefixtures("fresh_home")
def test_a_stopped_trial_is_pruned_with_its_epochs_and_not_complete_with_a_bad_score() -> None:
    job = a_job(
        "space=smoke",
        "pruner=median",
        "pruner.rungs=epoch",
        "pruner.arguments.n_startup_trials=1",
        "pruner.arguments.n_warmup_steps=0",
    )
    decider = a_decider(job)
    first, second = decider.next(), decider.next()
    decider.record(first.number, 1, 0.9)
    assert not decider.should_stop(first.number)
    end(decider, first, 0.9)
    decider.record(second.number, 1, 0.1)
    assert decider.should_stop(second.number)
    decider.prune(second.number)
    trial = ledger.open_study(job).get_trials()[second.number]
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 0.1})
    assert second.signature not in [each.signature for each in run(a_decider(job))]
    unpruned = a_job("space=smoke")
    assert second.signature in [each.signature for each in run(a_decider(unpruned))]


@pytest.mark.usefixtures("fresh_home")
def test_a_sampled_space_tries_as_many_different_settings_as_asked_for() -> None:
    job = a_job("space=joint", "trials=12", "sampler=random")
    ran = run(a_decider(job))
    assert len({each.signature for each in ran}) == len(ran) == 12


@pytest.mark.usefixtures("fresh_home")
def test_replicates_differ_by_their_seed_alone() -> None:
    ran = run(a_decider(a_job("space=joint", "trials=3", "seeds=2", "sampler=random")))
    assert len(ran) == 6
    by_point = {
        each.settings.network + str(each.settings.training) + str(each.settings.options) for each in ran
    }
    assert len(by_point) == 3
    assert sorted(each.settings.seed for each in ran) == [0, 0, 0, 1, 1, 1]


@pytest.mark.usefixtures("fresh_home")
def test_more_seeds_extend_a_sampled_search_by_replicates_of_its_points() -> None:
    words = ("space=joint", "trials=3", "sampler=random")
    first = run(a_decider(a_job(*words)))
    more = run(a_decider(a_job(*words, "seeds=2")))
    assert [each.settings.seed for each in more] == [1, 1, 1]
    assert [replace(each.settings, seed=0) for each in more] == [each.settings for each in first]
    assert run(a_decider(a_job("space=joint", "trials=4", "sampler=random")))[0].settings.seed == 0


@pytest.mark.usefixtures("fresh_home")
def test_seeds_that_a_smaller_command_no_longer_wants_are_given_up() -> None:
    bigger = a_decider(a_job("space=smoke", "seeds=2"))
    for _ in range(4):
        end(bigger, bigger.next())
    unwanted = bigger.next()
    assert unwanted.settings.seed == 1
    smaller = a_decider(a_job("space=smoke"))
    assert smaller.has_all()
    assert smaller.failures() == []
    assert ledger.given_up(smaller.study) == [unwanted.signature]
    bigger = a_decider(a_job("space=smoke", "seeds=2"))
    assert unwanted.signature in [each.signature for each in run(bigger)]
    assert ledger.given_up(bigger.study) == []


@pytest.mark.usefixtures("fresh_home")
def test_a_result_that_is_gone_is_made_again() -> None:
    job = a_job("space=smoke")
    gone = run(a_decider(job))[0]
    (files.trial_folder(gone.signature) / files.RESULT).unlink()
    assert [each.signature for each in run(a_decider(job))] == [gone.signature]
    assert len(a_decider(job).ended()) == 4


@pytest.mark.usefixtures("fresh_home")
def test_a_result_of_a_sampled_space_that_is_gone_is_made_again_and_is_no_further_point() -> None:
    job = a_job("space=joint", "trials=3", "seeds=2")
    ran = run(a_decider(job))
    gone = [next(each for each in ran if each.settings.seed == seed) for seed in (0, 1)]
    for each in gone:
        (files.trial_folder(each.signature) / files.RESULT).unlink()
    again = a_decider(job)
    assert (again.has_all(), again.missing()) == (False, 2)
    assert {each.signature for each in run(again)} == {each.signature for each in gone}
    assert (again.has_all(), again.missing(), len(again.ended())) == (True, 0, 6)


@pytest.mark.usefixtures("fresh_home")
def test_another_search_under_the_same_name_is_refused() -> None:
    a_decider(a_job("space=smoke", "study=mine"))
    with pytest.raises(
        ConfigError, match="study=mine holds a search with another space, budget, data, seed or objectives"
    ):
        a_decider(a_job("space=table3", "study=mine"))


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_what_a_sampler_proposes(sampler: str) -> None:
    points = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        decider = a_decider(
            a_job("space=joint", "trials=3", f"sampler={sampler}", f"study={name}", f"seed={seed}")
        )
        run(decider)
        points.append([(each.settings.network, each.settings.training) for each in decider.ended()])
    assert points[0] == points[1] != points[2]


def test_a_space_whose_own_code_fails_is_told_in_a_line(fresh_home: Path) -> None:
    file = fresh_home / "bad.py"
    file.write_text("GRID = [{}]\ndef sample(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    with pytest.raises(ConfigError, match="space bad: sample fails: ValueError"):
        a_job(f"space={file}")
    file.write_text("GRID = [{}]\ndef sample(trial):\n    return 5\n")
    with pytest.raises(ConfigError, match="space bad: sample gives a int; it has to give a Point"):
        a_job(f"space={file}")


TINY = '''"""Tiny: six settings only."""
from search.spaces import Point
def sample(trial):
    n = trial.suggest_categorical("n", [3, 4, 5])
    return Point(f"samplecnn_m3_n{n}_s81", options={"dropout": trial.suggest_categorical("dropout", [0.0, 0.5])})
'''


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_no_duplicate_is_trained_and_an_exhausted_space_ends(sampler: str, fresh_home: Path) -> None:
    file = fresh_home / "tiny.py"
    file.write_text(TINY)
    decider = a_decider(a_job(f"space={file}", "trials=20", f"sampler={sampler}"))
    ran = run(decider)
    assert len({each.signature for each in ran}) == len(ran) == 6
    assert decider.exhausted


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_proposal_that_is_no_network_is_noted_with_its_reason_and_the_search_goes_on(
    sampler: str, fresh_home: Path
) -> None:
    file = fresh_home / "tiny.py"
    file.write_text(TINY.replace("[3, 4, 5]", "[3, 4, 99]").replace("[0.0, 0.5]", "[0.0, 0.5, 1.5]"))
    job = a_job(f"space={file}", "trials=20", f"sampler={sampler}")
    decider = a_decider(job)
    ran = run(decider)
    assert {(each.settings.network, each.settings.options["dropout"]) for each in ran} == {
        (f"samplecnn_m3_n{n}_s81", dropout) for n in (3, 4) for dropout in (0.0, 0.5)
    }
    assert decider.exhausted
    assert any("samplecnn_m3_n99_s81" in why for why in decider.rejected)
    noted = [trial.user_attrs["rejected"] for trial in decider.study.trials if "rejected" in trial.user_attrs]
    assert sorted(noted) == sorted(decider.rejected.elements())
    assert not run(a_decider(job))  # nor is a network of them missing after a restart


def test_every_proposal_of_the_joint_space_is_a_network_with_its_input() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(300):
        trial = study.ask()
        point = joint.sample(trial)
        m, n, stride = (int(part[1:]) for part in point.network.split("_")[1:])
        assert m**n * stride == joint.INPUTS[m][trial.params["input"] == "long"]
        seen.add(point.network)
    paper = {point.network for point in spaces.load("table2").points()}
    assert len(seen & paper) >= 35


@pytest.mark.usefixtures("fresh_home")
def test_two_drivers_of_one_search_are_refused() -> None:
    with (
        only_driver("a"),
        pytest.raises(SearchError, match=r"the search a is running already \(process \d+\)"),
        only_driver("a"),
    ):
        pass
    with only_driver("a"):
        pass


def test_two_homes_with_one_file_for_their_ledger_have_one_driver_for_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "one"))
    with only_driver("a", url):
        monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "two"))
        with (
            pytest.raises(SearchError, match=r"the search a is running already \(process \d+\)"),
            only_driver("a", url),
        ):
            pass
        with only_driver("b", url), only_driver("a"):  # another study, and the ledger of this home
            pass
    with only_driver("a", url):
        pass


@pytest.mark.usefixtures("fresh_home")
def test_a_ledger_out_of_reach_is_told_without_its_password() -> None:
    job = a_job("space=smoke", "storage=postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(SearchError, match="can't open the ledger") as refused:
        a_decider(job)
    assert "secret" not in str(refused.value)


def test_a_sampler_that_optuna_lacks_is_refused() -> None:
    from search.settings import Choice

    with pytest.raises(
        ConfigError, match=r"Optuna has no optuna\.samplers\.TPESample; did you mean TPESampler\?"
    ):
        chosen.make(Choice("TPESample"), optuna.samplers)
    with pytest.raises(ConfigError, match=r"TPESampler can't be made with {'gama': 1}"):
        chosen.make(Choice("TPESampler", {"gama": 1}), optuna.samplers)
