"""A ledger of several commands and homes: what was trained in another one is told before it is trained anew."""

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from test_search_deciding import a_decider, a_job, run

from search import files
from search.study import ledger
from search.study.deciding import Decider


@pytest.fixture
def words(fresh_home: Path, tmp_path: Path) -> list[str]:
    return ["space=smoke", f"storage=sqlite:///{tmp_path / 'ledger.db'}", "study=ours"]


def another_home(path: Path, monkeypatch: pytest.MonkeyPatch, like: Path) -> Path:
    """A home with the same data, from here on this process's."""
    path.mkdir()
    (path / "datasets").symlink_to(like / "datasets")
    monkeypatch.setenv("WAVEZOO_HOME", str(path))
    return path


def told(words: list[str]) -> str:
    """What a command of these words says before it trains."""
    job = a_job(*words)
    study = ledger.open_study(job)
    return ledger.left_elsewhere(study, [each.settings for each in Decider(study, job).ended()])


def test_a_command_from_another_home_says_what_is_not_here_and_where_it_was_begun(
    words: list[str], fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(a_decider(a_job(*words)), most=3)
    assert told(words) == ""
    other = another_home(tmp_path / "other", monkeypatch, fresh_home)
    assert told(words) == (
        f"3 trainings have ended by the ledger and no folder in {other / 'trials'}; the search was begun with "
        f"WAVEZOO_HOME={fresh_home.resolve()} on {os.uname().nodename}; this command goes on and "
        f"trains anew what it needs of them"
    )
    assert len(run(a_decider(a_job(*words)))) == 4  # it goes on
    assert told(words) == ""


def test_folders_that_were_taken_away_where_the_search_began_are_no_riddle(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = run(a_decider(a_job(*words)), most=1)
    (files.trial_folder(one.signature) / files.RESULT).unlink()
    assert told(words) == ""
    begun = {"host": "elsewhere", "home": os.environ["WAVEZOO_HOME"], "storage": ""}
    ledger.open_study(a_job(*words)).set_user_attr(ledger.BEGUN, begun)
    line = told(words)  # a folder of that name on another machine is another folder
    assert line.startswith("1 training has ended by the ledger and no folder in ")
    assert " on elsewhere; this command goes on" in line


def test_a_bucket_is_named_by_the_word_that_leads_to_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(files.TRIALS, str(tmp_path / "shared"))
    (one,) = run(a_decider(a_job(*words)), most=1)
    (files.trial_folder(one.signature) / files.RESULT).unlink()
    assert told(words) == ""  # it would be brought from there
    monkeypatch.delenv(files.TRIALS)
    assert f"the search was begun with cluster.storage={tmp_path / 'shared'}; " in told(words)


def test_a_search_of_an_earlier_release_did_not_note_where_it_began(
    words: list[str], fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(*words)
    run(a_decider(job), most=1)
    ledger.open_study(job).set_user_attr(ledger.BEGUN, None)
    another_home(tmp_path / "other", monkeypatch, fresh_home)
    assert "; where that was is not noted; this command goes on" in told(words)


def test_of_two_commands_that_make_one_ledger_at_once_neither_loses_anything(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has ended by the time the first one's tables are made."""
    made, job = ledger.optuna.storages.RDBStorage, a_job(*words)
    others = a_job(*words, "study=others")

    def slowly(url: str, **given: object) -> RDBStorage:
        tables = made(url, **given)
        monkeypatch.setattr(ledger.optuna.storages, "RDBStorage", made)
        ledger.open_study(others)
        return tables

    monkeypatch.setattr(ledger.optuna.storages, "RDBStorage", slowly)
    ledger.open_study(job)
    known = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert sorted(known) == ["others", "ours"]
    assert sorted(file.name for file in tmp_path.glob("ledger*")) == ["ledger.db"]


def test_a_kill_while_a_ledger_is_made_leaves_none(words: list[str], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def dies(*given: object, **named: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("optuna.storages._rdb.storage._VersionManager", dies)
        with pytest.raises(KeyboardInterrupt):
            ledger.open_study(a_job(*words))
    assert not (tmp_path / "ledger.db").exists()
    ledger.open_study(a_job(*words))
