"""The driver's desk: what becomes of trials that fail, are lost, or whose ledger has no room."""

import re
from typing import Any

import pytest
from sqlalchemy import event

from search import failures, files, run, spaces
from search.failures import LOST_TRIES
from search.planning import data
from search.planning.capacity import Room
from search.planning.job import Job
from search.planning.packing import Packer
from search.running.halting import Halt, Leave
from search.running.placing import Desk
from search.study import ledger
from search.study.deciding import Decider
from search.trials.attempts import Attempt, Limit
from search.words import read_words


def a_desk(*words: str) -> tuple[Desk, list[str]]:
    """The driver's end without Ray, and what it tells a person."""
    typed = ["dataset=demo", "budget=small", "space=smoke", *words]
    read = read_words(typed)
    job = Job.of(read, spaces.load(read.space), data.find(read), typed)
    told: list[str] = []
    return Desk(Decider(ledger.open_study(job), job), [], {}, Halt(told.append)), told


ROW = {"epoch": 1, "valid_roc_auc": 0.5, "stage": 0}


def fill(desk: Desk, trial_id: str) -> None:
    """Write epochs into the ledger until there is no room for more."""
    for epoch in range(1, 10_000):
        desk.should_stop(trial_id, {**ROW, "epoch": epoch})


@pytest.mark.usefixtures("fresh_home")
def test_a_ledger_without_room_ends_the_search_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, _ = a_desk()
    config = desk.assign("a")
    assert config
    engine = desk.decider.study._storage._database.engine
    engine.dispose()

    def no_page_more(connection: Any, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # as many as there are is the least that it takes

    event.listen(engine, "connect", no_page_more)
    with pytest.raises(Leave):
        fill(desk, "a")
    engine.dispose()
    error = desk.halt.error
    assert error is not None
    assert failures.is_storage_full(error)

    def fails(typed: object) -> int:
        raise error

    monkeypatch.setattr(run, "_run", fails)
    assert run.main(["space=smoke"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"there is no room left on the disk: make room under .*; then the same command goes on\n", said
    )
    again, _ = a_desk()  # with room: the same command
    assert again.assign("b")["signature"] == config["signature"]
    assert desk.decider.study.get_trials()[0].state.name == "RUNNING"


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("kind", ["data", "storage full"])
def test_a_trouble_of_the_whole_search_is_no_failure_of_the_trial(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, told = a_desk()
    monkeypatch.setattr(Halt, "_pause", lambda self, why: told.append(why))
    desk.assign("a")
    desk.tell("a", {"done": True, "failure": {"kind": kind, "why": "as it is"}})
    desk.end("a", lost=False)
    assert str(desk.halt.error) == f"the search stops, {kind}: as it is; then the same command goes on"
    assert desk.assign("b") is None, "another trial was started"
    assert desk.decider.failures() == []
    assert [trial.state.name for trial in desk.decider.study.get_trials()] == ["RUNNING"]


@pytest.mark.usefixtures("fresh_home")
def test_a_failure_goes_to_the_ledger_by_its_kind() -> None:
    desk, _ = a_desk()
    desk.assign("a")
    desk.tell("a", {"done": True, "failure": {"kind": "out of GPU memory", "why": "2 GB asked for"}})
    desk.end("a", lost=False)
    assert desk.decider.study.get_trials()[0].user_attrs["failure"]["kind"] == "out of GPU memory"


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_lost_too_often_has_the_kind_of_its_last_loss() -> None:
    desk, _ = a_desk("cluster.epoch_minutes=5")
    config = desk.assign("a")
    assert config
    folder = files.trial_folder(config["signature"])
    folder.mkdir(parents=True)
    limit = Limit(**config["limit"])
    assert limit.minutes == 5
    assert limit.guess_seconds > 0
    attempt = Attempt(folder, limit)
    attempt._stacks.write(b"Timeout!")
    attempt._stacks.close()
    for _ in range(LOST_TRIES):
        desk.recovered("a")
    desk.end("a", lost=True)
    assert desk.decider.study.get_trials()[0].user_attrs["failure"]["kind"] == "hang"


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_that_tune_gives_up_before_its_tries_is_handed_out_again() -> None:
    desk, _ = a_desk()
    wanted = desk.assign("first")
    assert wanted
    for at in range(LOST_TRIES):
        desk.end("first" if at == 0 else f"again{at}", lost=True)
        assert desk.may_have_more
        handed = desk.assign(f"again{at + 1}")
        assert handed
        assert handed["signature"] == wanted["signature"]
    desk.end(f"again{LOST_TRIES}", lost=True)
    assert desk.decider.study.get_trials()[0].user_attrs["failure"]["kind"] == "lost"


@pytest.mark.usefixtures("fresh_home")
def test_the_stage_of_an_epoch_reaches_the_ledger_with_it() -> None:
    """No trial has a folder here in which it could be looked up."""
    desk, _ = a_desk("pruner=median", "pruner.rungs=stage", "budget.epochs_per_stage=2")
    assert desk.assign("a")
    for epoch, stage in ((1, 0), (2, 0), (3, 1)):
        desk.should_stop("a", {"epoch": epoch, "valid_roc_auc": 0.5, "stage": stage})
    assert desk.decider.study.get_trials()[0].user_attrs["stage_starts"] == [1, 3]


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("row", [{"result": {"valid": {"roc_auc": 0.5}}}, ROW])
def test_a_storage_that_is_away_lets_running_trials_save(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a trial ends well, and where the pruner has ended it."""
    desk, told = a_desk("cluster.trials_at_once=2")
    monkeypatch.setattr(Halt, "_pause", lambda self, why: told.append(why))
    desk.assign("a")

    def away(signature: str) -> None:
        raise failures.StorageAway("can't use cluster.storage=s3://b: it is silent")

    monkeypatch.setattr(files, "read_epochs", away)
    desk.tell("a", {**row, "done": True})
    desk.end("a", lost=False)
    assert told == ["the search can't go on"]
    assert isinstance(desk.halt.error, failures.StorageAway)
    assert desk.assign("b") is None, "another trial was started"
    assert [trial.state.name for trial in desk.decider.study.get_trials()] == ["RUNNING"]


@pytest.mark.usefixtures("fresh_home")
def test_a_whole_gpu_stands_in_the_ledger() -> None:
    desk, _ = a_desk()
    desk.room, desk.packer = Room(1, 1.0, 1, 0), Packer(1.0, 1.0)
    assert desk.assign("a")
    assert desk.decider.study.get_trials()[0].user_attrs["gpus"] == 1
