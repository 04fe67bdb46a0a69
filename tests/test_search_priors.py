"""What a sampler is told of before it begins: a table of the paper, or an earlier study."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from proposals import MEMORY, NESTED, a_decider, a_space, run

import zoo
from search.errors import ConfigError
from search.spaces import joint, tuned


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
