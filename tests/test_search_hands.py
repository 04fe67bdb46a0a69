"""Trials that go together: handed out, told apart, ended each by itself, and given back when they are lost."""

from pathlib import Path
from typing import Any

import pytest
from hands import GB, ONE, a_desk, a_job, a_row, numbers, states
from optuna.trial import TrialState

from search.failures import LOST_TRIES
from search.planning.capacity import room_of
from search.planning.grouping import together_bytes
from search.planning.packing import Packer
from search.running import halting
from search.running.halting import Halt
from search.running.placing import StudyScheduler, StudySearcher
from search.settings import Cluster
from search.study.records import Records


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signatures of which the workers are told that nothing more of them is wanted."""
    told: list[str] = []
    monkeypatch.setattr(Halt, "leave_out", lambda halt, signature: told.append(signature))
    return told


@pytest.fixture
def one(fresh_home: Path, tmp_path: Path) -> str:
    """The word for a space of one network."""
    space = tmp_path / "one.py"
    space.write_text(ONE)
    return f"space={space}"


def test_a_hand_holds_what_goes_together_and_asks_for_the_room_of_all(one: str) -> None:
    job = a_job(one, "seeds=2", "cluster.together=5")
    desk, watching = a_desk(job)
    config = desk.assign("a")
    assert config is not None
    assert len(config["beside"]) == 4
    signatures = [each.signature for each in desk.hands["a"].trials]
    assert signatures == sorted(signatures), "two searches could wait for each other's folders"
    assert config["signature"] == signatures[0]
    assert config["memory_bytes"] == together_bytes(job.grid()[:1] * 5)
    assert sorted(watching.told) == [("started", number) for number in range(5)]
    rest = desk.assign("b")
    assert rest is not None
    assert len(rest["beside"]) == 2
    assert desk.assign("c") is None
    assert len({*numbers(desk, "a"), *numbers(desk, "b")}) == 8


@pytest.mark.usefixtures("fresh_home")
def test_replicates_of_a_grid_are_found_wherever_they_stand_in_it() -> None:
    job = a_job("space=smoke", "seeds=3", "cluster.together=3")
    desk, _ = a_desk(job)
    for hand in "abcd":
        assert desk.assign(hand)
        trials = desk.hands[hand].trials
        assert len({each.settings.network for each in trials}) == 1
        assert {each.settings.seed for each in trials} == {0, 1, 2}
    assert desk.assign("e") is None


@pytest.mark.usefixtures("fresh_home")
def test_without_the_word_each_trial_on_a_processor_has_a_process_of_its_own(one: str) -> None:
    desk, _ = a_desk(a_job(one))
    config = desk.assign("a")
    assert config is not None
    assert config["beside"] == []
    assert len(desk.hands["a"].trials) == 1


@pytest.mark.usefixtures("fresh_home")
def test_proposals_for_the_same_network_go_together_and_none_gets_more_than_its_turn() -> None:
    job = a_job("space=tuned", "trials=8", "cluster.together=4")
    desk, _ = a_desk(job)
    networks = []
    for hand in "abcd":
        assert desk.assign(hand)
        networks.append([each.settings.network for each in desk.hands[hand].trials])
    assert [len(each) for each in networks] == [2, 2, 2, 2]
    assert len({name for each in networks for name in each}) == 4
    assert desk.assign("e") is None


@pytest.mark.usefixtures("fresh_home")
def test_seeds_that_the_pruner_compares_wait_for_each_other() -> None:
    words = ("pruner=median", "pruner.rungs=seed", "seeds=3", "cluster.together=3")
    desk, _ = a_desk(a_job("space=smoke", *words))
    config = desk.assign("a")
    assert config is not None
    assert config["beside"] == []


def test_an_interrupted_hand_is_handed_out_together_again(one: str) -> None:
    job = a_job(one, "cluster.together=4")
    first, _ = a_desk(job)
    assert first.assign("a")
    handed = numbers(first, "a")
    first.tell("a", {"paused": True, "done": True})
    first.end("a", lost=False)
    assert states(first) == [TrialState.RUNNING] * 4
    second, _ = a_desk(job)
    assert second.assign("b")
    assert numbers(second, "b") == handed


def test_each_of_a_hand_ends_by_itself(one: str, left_out: list[str]) -> None:
    desk, watching = a_desk(a_job(one, "cluster.together=4"))
    assert desk.assign("a")
    first, second, third, fourth = desk.hands["a"].trials
    assert not a_row(desk, "a", 0, 1)
    desk.tell("a", {"place": 1, "failure": {"kind": "diverged", "why": "the loss is nan"}})
    assert not a_row(desk, "a", 2, 1, last=True)
    assert left_out == [second.signature, third.signature]
    assert {("failed", second.number), ("done", third.number)} <= set(watching.told)
    assert desk.decider.study.get_trials()[second.number].user_attrs["failure"]["kind"] == "diverged"
    assert not a_row(desk, "a", 3, 1)
    assert not a_row(desk, "a", 0, 2, last=True)
    assert a_row(desk, "a", 3, 2, last=True), "Tune was not told that nothing of it is left"
    desk.end("a", lost=False)
    ended = {
        first.number: "COMPLETE",
        second.number: "FAIL",
        third.number: "COMPLETE",
        fourth.number: "COMPLETE",
    }
    assert {trial.number: trial.state.name for trial in desk.decider.study.get_trials()} == ended
    assert [told for told in watching.told if told[0] == "done"] == [
        ("done", each.number) for each in (third, first, fourth)
    ]


def test_one_that_is_pruned_leaves_the_others_going(
    one: str, left_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, watching = a_desk(a_job(one, "cluster.together=3", "pruner=median"))
    assert desk.assign("a")
    trials = desk.hands["a"].trials
    unwanted = {trials[1].number, trials[2].number}
    monkeypatch.setattr(desk.decider, "should_stop", unwanted.__contains__)
    scheduler = StudyScheduler(desk)
    assert [a_row(desk, "a", place, 1) for place in (0, 1, 2)] == [False, False, False]
    assert left_out == [trials[1].signature, trials[2].signature]
    assert [told for told in watching.told if told[0] == "stopped"] == [
        ("stopped", trials[1].number),
        ("stopped", trials[2].number),
    ]
    assert states(desk)[trials[1].number] == TrialState.PRUNED
    unwanted.add(trials[0].number)
    row = {"place": 0, "epoch": 2, "valid_roc_auc": 0.5, "stage": 0, "last": False}
    trial: Any = type("OfTune", (), {"trial_id": "a"})
    assert scheduler.on_trial_result(None, trial, row) == "STOP"
    desk.tell("a", row)
    desk.end("a", lost=False)
    assert {states(desk)[each.number] for each in trials} == {TrialState.PRUNED}


def test_a_hand_that_is_lost_too_often_fails_nobody(one: str, left_out: list[str]) -> None:
    desk, _ = a_desk(a_job(one, "cluster.together=4"))
    searcher = StudySearcher(desk, type("Many", (), {"count": lambda self: 9, "gpus": 0.0})())  # type: ignore[arg-type]
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    trials = desk.hands["a"].trials
    a_row(desk, "a", 0, 1, last=True)
    assert searcher.suggest("b") is None, "Tune was told that there is nothing more to come"
    searcher.on_trial_complete("a", error=True)
    assert TrialState.FAIL not in states(desk)
    for hand, each in zip("bcd", trials[1:], strict=True):
        config = searcher.suggest(hand)
        assert isinstance(config, dict)
        assert (config["signature"], config["beside"]) == (each.signature, [])
    assert searcher.suggest("e") is None, "what runs may be lost, and come back"
    for _ in range(LOST_TRIES):
        desk.recovered("b")
    searcher.on_trial_complete("b", error=True)  # by itself, and with all its tries: now it is its own
    assert states(desk)[trials[1].number] == TrialState.FAIL


def test_a_process_that_ends_without_a_word_of_its_trials_prunes_none(one: str) -> None:
    desk, watching = a_desk(a_job(one, "cluster.together=4"))
    assert desk.assign("a")
    desk.tell("a", {"done": True})
    desk.end("a", lost=False)
    assert states(desk) == [TrialState.RUNNING] * 4
    assert [told[0] for told in watching.told[4:]] == ["paused"] * 4
    alone = desk.assign("b")
    assert alone is not None
    assert alone["beside"] == []


def test_what_a_process_that_was_lost_had_told_is_not_told_again(one: str, left_out: list[str]) -> None:
    desk, watching = a_desk(a_job(one, "cluster.together=2"))
    assert desk.assign("a")
    a_row(desk, "a", 0, 1, last=True)
    told = list(watching.told)
    a_row(desk, "a", 0, 1, last=True)
    assert watching.told == told


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """In place of Ray's key-value store."""
    keys: set[str] = set()
    monkeypatch.setattr(halting, "_key", lambda: "pause:test")
    monkeypatch.setattr(halting.internal_kv, "_internal_kv_initialized", lambda: True)
    monkeypatch.setattr(halting.internal_kv, "_internal_kv_put", lambda key, value, namespace: keys.add(key))
    monkeypatch.setattr(halting.internal_kv, "_internal_kv_exists", lambda key, namespace: key in keys)
    return keys


def test_a_worker_hears_of_one_trial_without_being_halted(store: set[str]) -> None:
    Halt(print).leave_out("0123")
    assert halting.is_left_out("0123")
    assert not halting.is_left_out("4567")
    assert not halting.Look()()


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [2]])
def test_trials_on_a_gpu_go_together_by_themselves(places: list[int], one: str) -> None:
    """places: of those whose epoch is the first that was trained whole, as of one after the hand fell apart."""
    packer, room = Packer(None, gpus=1), room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}])
    job = a_job(one)
    desk, _ = a_desk(job, room, packer)
    config = desk.assign("a")
    assert config is not None
    assert (len(config["beside"]), config["gpus"], config["threads"]) == (3, 1.0, 16)
    use = {"device": "NVIDIA H200", "gpu_bytes": 141 * GB, "peak_bytes": GB, "places": places}
    for place in range(4):
        row = {"place": place, "epoch": 1, "valid_roc_auc": 0.5, "stage": 0, "gpu": use, "last": False}
        desk.tell("a", row)
    assert [(each.outcome, each.together) for each in Records().searches()[0].records] == [("running", 4)] * 4
    (seen,) = packer.seen
    assert seen.predicted_bytes == together_bytes(job.grid()[:1] * len(places))
