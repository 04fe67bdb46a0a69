"""What pages read: once where it has ended, and never an error where one trial is broken."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from made_searches import ABOUT, Made, a_search, failed, leave_epochs, settings, trained
from optuna.trial import TrialState

from dashboards.blocks import Link
from dashboards.measured import by_budget, by_protocol, measured
from dashboards.reading import LATELY_SECONDS, Reading
from search import files
from search.errors import SearchError
from search.recording.marks import PARENT, SIGNATURE, STUDY
from search.recording.store import client
from search.study import ledger, records
from search.study.driving import only_driver
from search.study.records import Records

ONE, OTHER, THIRD = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "samplecnn_m3_n3_s729"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the JSON files that are read."""
    read, found = files.read_json, list[str]()
    monkeypatch.setattr(files, "read_json", lambda path: (found.append(path.name), read(path))[1])
    return found


def looked_at(reading: Reading) -> None:
    for search in reading.searches():
        for record in search.records:
            reading.trial(record)


def test_a_search_is_told_with_the_last_end_of_each_training(bare_home: Path) -> None:
    again = trained(ONE)
    lost = failed(settings(OTHER), "lost", "the node is gone")
    a_search(
        bare_home, "s", [failed(again, "hang", "x"), again, lost, Made(settings(THIRD), TrialState.RUNNING)]
    )
    (search,) = Records().searches()
    told = {each.settings.network: (each.outcome, each.kind, each.why) for each in search.records}
    assert told == {
        ONE: ("done", "", ""),
        OTHER: ("failed", "lost", "the node is gone"),
        THIRD: ("running", "", ""),
    }
    assert (search.name, search.about.planned) == ("s", 9)


def test_what_ended_is_asked_of_the_ledger_once(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_search(bare_home, "s", [trained(ONE), Made(settings(OTHER), TrialState.RUNNING)])
    asked: list[list[int]] = []
    details = records._details
    monkeypatch.setattr(
        records, "_details", lambda ledger, ids: (asked.append(list(ids)), details(ledger, ids))[1]
    )
    looking = Records()
    first = looking.searches()
    assert looking.searches() == first
    assert asked == [[1, 2], [2]]


def test_the_rows_agree_with_what_optuna_reads(bare_home: Path) -> None:
    done = trained(ONE)
    a_search(bare_home, "a", [done, trained(OTHER)])
    a_search(bare_home, "b", [done])
    url = f"sqlite:///{bare_home / 'studies.db'}"
    for search in Records().searches():
        study = optuna.load_study(study_name=search.name, storage=url)
        assert search.trained == [settings for _, settings in ledger.settings_of(study)]


def test_without_a_ledger_there_is_no_search_and_none_is_made(bare_home: Path) -> None:
    assert Reading().searches() == []
    assert not (bare_home / "studies.db").exists()


def test_a_ledger_that_is_none_is_answered_without_its_password(bare_home: Path) -> None:
    with pytest.raises(SearchError, match=r"can't read the ledger nodb://\.\.\.@host/x: "):
        Reading("nodb://me:secret@host/x").searches()
    (bare_home / "studies.db").write_text("no database at all, but long enough to be looked at")
    with pytest.raises(SearchError, match=r"can't read the ledger sqlite:.*file is not a database"):
        Reading().searches()


def test_a_trial_that_has_ended_is_read_once(bare_home: Path, opened: list[str]) -> None:
    a_search(bare_home, "s", [trained(ONE), trained(OTHER)])
    reading = Reading()
    looked_at(reading)
    assert opened == ["result.json"] * 2
    opened.clear()
    looked_at(reading)
    assert opened == []


def test_a_trial_that_runs_is_read_when_its_epochs_have_changed(bare_home: Path, opened: list[str]) -> None:
    running = settings(ONE)
    leave_epochs(running, 1)
    a_search(bare_home, "s", [Made(running, TrialState.RUNNING)])
    reading = Reading()
    (search,) = reading.searches()
    assert len(reading.trial(search.records[0]).epochs) == 1
    opened.clear()
    leave_epochs(running, 2)
    assert [len(reading.trial(search.records[0]).epochs) for _ in range(3)] == [2, 2, 2]
    assert opened == ["epochs.json"]


def spoil(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (spoil("result.json", "{"), "result.json is damaged ("),
        (spoil("result.json", "{}"), "result.json is not what a trial writes (KeyError: 'valid')"),
        (spoil("result.json", "[1]"), "result.json is not what a trial writes (TypeError: "),
        (lambda folder: (folder / "result.json").unlink(), "result.json is gone; its search trains"),
    ],
)
def test_a_broken_trial_costs_a_line(bare_home: Path, spoiled: Callable[[Path], object], said: str) -> None:
    bad, good = trained(ONE), trained(OTHER)
    spoiled(files.trial_folder(bad.signature()))
    a_search(bare_home, "s", [bad, good])
    reading = Reading()
    (search,) = reading.searches()
    troubles = [reading.trial(each).trouble for each in search.records]
    assert said in troubles[0]
    assert "\n" not in troubles[0]
    assert troubles[1] == ""
    found, _ = measured(reading)
    assert OTHER in {each.trial.record.settings.network for each in found}


def test_epochs_that_are_broken_cost_a_line(bare_home: Path) -> None:
    done, gone = trained(ONE), settings(OTHER)
    leave_epochs(gone, 1)
    for each in (done, gone):
        spoil("epochs.json", '[{"epoch": 1}]')(files.trial_folder(each.signature()))
    a_search(bare_home, "s", [done, failed(gone, "lost", "gone")])
    reading = Reading()
    first, second = [reading.trial(each) for each in reading.searches()[0].records]
    said = "epochs.json is not what a trial writes (KeyError: 'seconds')"
    assert said in second.trouble
    assert not first.trouble, "nobody asked for its epochs"
    assert said in reading.whole(first).trouble
    assert (first.count, first.seconds) == (3, 60.0)


def test_settings_that_cannot_be_read_cost_a_line(bare_home: Path) -> None:
    a_search(
        bare_home,
        "s",
        [Made(settings(ONE), told={"settings": json.dumps({"network": ONE})}), trained(OTHER)],
    )
    (search,) = Reading().searches()
    assert [each.settings.network for each in search.records] == [OTHER]
    assert "the settings of trial 0 can't be read" in search.trouble[0]


def test_what_was_measured_is_sorted_by_protocol_and_by_budget(bare_home: Path) -> None:
    shared = trained(ONE)
    a_search(bare_home, "a", [shared, trained(OTHER), trained(THIRD, convention="all")])
    a_search(bare_home, "b", [shared, trained(OTHER, seed=1)], replace(ABOUT, budget="paper: slow"))
    found, trouble = measured(Reading())
    assert not trouble
    groups = by_protocol(found)
    assert [(len(group.members), group.protocol["convention"]) for group in groups] == [
        (3, "paper"),
        (1, "all"),
    ]
    assert [(group.budget, len(group.members)) for group in by_budget(found)] == [
        ("paper: slow", 2),
        ("small: 3 epochs", 2),
        ("small: 3 epochs", 1),
    ]
    assert len({group.key for group in (*groups, *by_budget(found))}) == 5


def test_a_search_is_live_while_it_is_driven(bare_home: Path) -> None:
    a_search(bare_home, "s", [trained(ONE)])
    reading = Reading()
    (search,) = reading.searches()
    assert not reading.is_live(search)
    with only_driver("s"):
        assert reading.is_live(search)
    assert not reading.is_live(search)


def test_a_trial_that_was_left_behind_does_not_run(bare_home: Path) -> None:
    running = settings(ONE)
    leave_epochs(running, 1)
    a_search(bare_home, "s", [Made(running, TrialState.RUNNING)])
    reading = Reading()
    (search,) = reading.searches()
    assert reading.is_live(search), "another machine may drive it"
    before = time.time() - 2 * LATELY_SECONDS
    for file in files.trial_folder(running.signature()).iterdir():
        os.utime(file, (before, before))
    assert not reading.is_live(search)


def test_runs_of_mlflow_are_linked_where_its_server_is_named(
    bare_home: Path, mlflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bare_home / "mlflow.db"
    store.write_bytes(mlflow_db.read_bytes())
    mlflow = client(f"sqlite:///{store}")
    experiment = mlflow.create_experiment("demo-table2")
    of_search = mlflow.create_run(experiment, tags={STUDY: "s"}).info.run_id
    tags = {SIGNATURE: "0123456789abcdef", PARENT: of_search}
    run = mlflow.create_run(experiment, tags=tags).info.run_id
    assert Reading().run("s", "0123456789abcdef") is None, "no server was named"
    monkeypatch.setattr("search.recording.store.client", lambda uri: mlflow)
    reading = Reading(mlflow="http://me:secret@mlflow.test:5000/")
    assert reading.run("s", "0123456789abcdef") is None, "nobody waits for the server"
    reading.runs.wait(60)
    place = f"http://mlflow.test:5000/#/experiments/{experiment}/runs/{run}"
    assert reading.run("s", "0123456789abcdef") == Link(address=place)
    assert reading.run("another search", "0123456789abcdef") == Link(address=place)
    assert reading.run("s", "f" * 16) is None


def test_who_writes_a_page_once_waits_for_the_links(
    bare_home: Path, mlflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bare_home / "mlflow.db"
    store.write_bytes(mlflow_db.read_bytes())
    mlflow = client(f"sqlite:///{store}")
    experiment = mlflow.create_experiment("demo-table2")
    run = mlflow.create_run(experiment, tags={SIGNATURE: "0123456789abcdef"}).info.run_id
    monkeypatch.setattr("search.recording.store.client", lambda uri: mlflow)
    found = Reading(mlflow="http://mlflow.test:5000", patient=True).run("s", "0123456789abcdef")
    assert found == Link(address=f"http://mlflow.test:5000/#/experiments/{experiment}/runs/{run}")


def test_a_server_that_is_away_costs_the_links_alone(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(uri: str) -> None:
        raise ConnectionError

    monkeypatch.setattr("search.recording.store.client", away)
    reading = Reading(mlflow="http://mlflow.test:5000")
    assert reading.run("s", "f" * 16) is None
    reading.runs.wait(60)
    assert reading.run("s", "f" * 16) is None


def test_an_address_that_is_no_server_is_refused() -> None:
    with pytest.raises(
        SearchError, match="mlflow=sqlite:///x: give the address of its server, as mlflow=http"
    ):
        Reading(mlflow="sqlite:///x")
