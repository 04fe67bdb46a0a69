"""The study in memory with its database behind it: both say the same, at every step that a kill could follow."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import OperationalError

from search.errors import SearchError
from search.failures import LedgerAway
from search.study import mirror
from search.study.mirror import ONLY, Mirror

NAME = "one"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with two studies; ours has not the first of its trial ids."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    other = optuna.create_study(storage=url, study_name="other")
    other.add_trial(create_trial(value=0.0))
    optuna.create_study(storage=url, study_name=NAME, direction="maximize")
    return url


def mirrored(url: str) -> optuna.Study:
    return optuna.load_study(study_name=NAME, storage=Mirror(RDBStorage(url), NAME))


def written(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=NAME, storage=url).get_trials()


def facts(trials: list[FrozenTrial]) -> list[tuple]:
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.intermediate_values)
        for t in trials
    ]


def asked(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("rate", 0.1, 1.0, log=True)
    trial.suggest_categorical("kind", ["a", "b"])
    return trial


def test_a_trial_is_in_the_database_from_when_it_is_entered(url: str) -> None:
    study = mirrored(url)
    trial = asked(study)
    trial.set_user_attr("settings", "{}")
    assert written(url) == []
    study._storage.enter(trial._trial_id)
    (found,) = written(url)
    assert (found.state, found.params, found.user_attrs) == (
        TrialState.RUNNING,
        trial.params,
        {"settings": "{}"},
    )
    assert found.distributions == {
        "rate": FloatDistribution(0.1, 1.0, log=True),
        "kind": CategoricalDistribution(("a", "b")),
    }


def test_every_later_step_is_in_the_database_when_it_returns(url: str) -> None:
    study = mirrored(url)
    trial = asked(study)
    study._storage.enter(trial._trial_id)
    trial.report(0.5, 1)
    assert written(url)[0].intermediate_values == {1: 0.5}
    trial.set_user_attr("failure", {"kind": "lost"})
    assert written(url)[0].user_attrs == {"failure": {"kind": "lost"}}
    study.tell(trial, 0.7)
    assert (written(url)[0].state, written(url)[0].value) == (TrialState.COMPLETE, 0.7)
    assert facts(written(url)) == facts(study.get_trials())


def test_a_trial_that_ends_before_it_is_entered_is_entered_with_its_end(url: str) -> None:
    study = mirrored(url)
    study.tell(asked(study), state=TrialState.FAIL)
    study.add_trial(create_trial(value=0.4, user_attrs={"prior": "table2"}))
    study.enqueue_trial({"rate": 0.3})
    study.tell(asked(study), 0.9)
    assert [t.state.name for t in written(url)] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert facts(written(url)) == facts(study.get_trials())


def test_another_driver_finds_all_of_it_and_goes_on(url: str) -> None:
    first = mirrored(url)
    first.set_user_attr("identity", "x")
    ended, left = asked(first), asked(first)
    for trial in (ended, left):
        first._storage.enter(trial._trial_id)
    first.tell(ended, 0.7)
    second = mirrored(url)
    assert facts(second.get_trials()) == facts(first.get_trials())
    assert second.user_attrs == {"identity": "x"}
    second._storage.set_trial_intermediate_value(left._trial_id, 1, 0.2)
    second.tell(left.number, state=TrialState.PRUNED)
    third = asked(second)
    second._storage.enter(third._trial_id)
    assert third.number == 2
    assert facts(written(url)) == facts(second.get_trials())
    assert second._storage.get_all_studies()[ONLY].study_name == NAME


def test_a_parameter_whose_choices_have_changed_is_told_in_a_line(url: str) -> None:
    study = mirrored(url)
    study._storage.enter(asked(study)._trial_id)
    trial = mirrored(url).ask()
    trial.suggest_categorical("kind", ["a", "b", "c"])
    with pytest.raises(
        SearchError, match=r"of another space than this one is by now \(.*; give this .* study=NAME$"
    ):
        trial.storage.enter(trial._trial_id)


def test_a_second_driver_that_writes_meanwhile_is_noticed(url: str) -> None:
    study = mirrored(url)
    trial = asked(study)
    optuna.load_study(study_name=NAME, storage=url).ask()
    with pytest.raises(SearchError, match="another driver writes to this study; end one of them, or give"):
        study._storage.enter(trial._trial_id)
    # Nobody takes it for a trial that was interrupted
    assert [each.state for each in written(url)] == [TrialState.RUNNING, TrialState.FAIL]


WRITES = {name for name in vars(RDBStorage) if name.startswith(("set_", "create_new_trial"))}


class CutOff(RDBStorage):
    """A database that loses its connection at a write: undone where `never` says so, else with its answer."""

    loses, never = False, False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._cut(found) if name in WRITES else found

    def _cut(self, write: Any) -> Any:
        def written(*given: Any) -> Any:
            if self.never:
                raise self._lost()
            answer = write(*given)
            if not self.loses:
                return answer
            self.loses = False
            raise self._lost()

        return written

    def _lost(self) -> StorageInternalError:
        lost = StorageInternalError("not written")
        lost.__cause__ = OperationalError("INSERT", {}, OSError("server closed the connection"))
        return lost


def test_a_write_whose_answer_is_lost_is_done_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 0.0)
    database = CutOff(url)
    study = optuna.load_study(study_name=NAME, storage=Mirror(database, NAME))

    def cut() -> None:
        assert not database.loses, "the last write was not lost"
        database.loses = True

    cut()
    study.set_user_attr("identity", "x")
    trial = asked(study)
    cut()
    study._storage.enter(trial._trial_id)
    cut()
    trial.report(0.5, 1)
    cut()
    trial.set_user_attr("failure", {"kind": "lost"})
    cut()
    trial.suggest_float("dropout", 0.0, 1.0)
    cut()
    study.tell(trial, 0.7)
    assert facts(written(url)) == facts(study.get_trials())
    assert len(written(url)) == 1


def test_a_database_that_stays_away_is_told_in_a_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PATIENCE_SECONDS", 0.0)
    database = CutOff(url)
    study = optuna.load_study(study_name=NAME, storage=Mirror(database, NAME))
    trial = asked(study)
    study._storage.enter(trial._trial_id)
    database.never = True
    with pytest.raises(
        LedgerAway, match=r"^the ledger can't be written \(.*closed the connection.*; once it can, the"
    ):
        trial.report(0.5, 1)
    database.never = False
    trial.report(0.5, 1)
    assert written(url)[0].intermediate_values == {1: 0.5}
