"""Which trials go together in one process, how many, and how the driver tells each of them from the others."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search import data, files, halting, ledger, spaces
from search.deciding import Assignment, Decider
from search.desk import Desk
from search.failures import LOST_TRIES
from search.grouping import MOST_BY_ITSELF, kind, most_together, together_bytes
from search.halting import Halt
from search.job import PROCESS_BYTES, Job, Work
from search.packing import CONTEXT_BYTES, Packer, Seen
from search.placing import StudyScheduler, StudySearcher
from search.records import Records
from search.rooms import Room, room_of
from search.settings import Cluster, ConfigError
from search.words import read_words

GB = 10**9
ONE = '''"""One: a single small network, trained in several ways."""
from search.spaces import Point
GRID = [{"rate": rate, "dropout": dropout} for rate in (0.01, 0.02) for dropout in (0.3, 0.5)]
def sample(trial):
    rate = trial.suggest_categorical("rate", [0.01, 0.02])
    dropout = trial.suggest_categorical("dropout", [0.3, 0.5])
    return Point("samplecnn_m3_n3_s729", {"dropout": dropout}, {"first_learning_rate": rate})
'''


def a_job(*words: str) -> Job:
    typed = ["dataset=demo", "budget=small", *words]
    read = read_words(typed)
    return Job.of(read, spaces.load(read.space), data.find(read), typed)


class Watching:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def started(self, assignment: Assignment) -> None:
        self.told.append(("started", assignment.number))

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        self.told.append(("epoch", assignment.number, row["epoch"]))

    def ended(self, assignment: Assignment, outcome: str, why: str) -> None:
        self.told.append((outcome, assignment.number))


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signatures of which the workers are told that nothing more of them is wanted."""
    told: list[str] = []
    monkeypatch.setattr(Halt, "leave_out", lambda halt, signature: told.append(signature))
    return told


def a_desk(job: Job, room: Room | None = None, packer: Packer | None = None) -> tuple[Desk, Watching]:
    watching = Watching()
    return Desk(Decider(ledger.open_study(job), job), [watching], {}, Halt(print), room, packer), watching


@pytest.fixture
def one(fresh_home: Path, tmp_path: Path) -> str:
    """The word for a space of one network."""
    space = tmp_path / "one.py"
    space.write_text(ONE)
    return f"space={space}"


def numbers(desk: Desk, hand: str) -> list[int]:
    return [each.number for each in desk.hands[hand].trials]


def states(desk: Desk) -> list[TrialState]:
    return [trial.state for trial in desk.decider.study.get_trials()]


def a_row(desk: Desk, hand: str, place: int, epoch: int, score: float = 0.5, last: bool = False) -> bool:
    """An epoch comes in, as Tune passes it on; after the last one its result. Returns whether Tune is to stop."""
    row: dict[str, Any] = {"place": place, "epoch": epoch, "valid_roc_auc": score, "stage": 0, "last": last}
    if last:
        signature = desk.hands[hand].trials[place].signature
        row["result"] = {"signature": signature, "valid": {"roc_auc": score}}
        files.write_json(files.trial_folder(signature) / files.RESULT, row["result"])
    stop = desk.should_stop(hand, row)
    desk.tell(hand, row)
    return stop


@pytest.mark.parametrize("wrong", [0, 17, -1, 2.5, "many", True])
def test_a_number_of_trials_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=f"cluster.together={wrong}: give 'auto', or 1 to 16"):
        Cluster(together=wrong)  # type: ignore[arg-type]


def test_trials_that_take_several_gpus_are_not_to_go_together() -> None:
    with pytest.raises(
        ConfigError,
        match=r"cluster\.together=2: a trial that takes 4 GPUs goes alone; give 'auto', or at most "
        r"cluster\.gpus_per_trial=1",
    ):
        Cluster(together=2, gpus_per_trial=4)
    assert Cluster(gpus_per_trial=4).together == "auto"
    assert Cluster(together=1, gpus_per_trial=4).together == 1


@pytest.mark.usefixtures("fresh_home")
def test_how_many_go_together_changes_no_signature_and_no_search() -> None:
    apart, together = a_job("space=smoke"), a_job("space=smoke", "cluster.together=8")
    assert together.settings.cluster.together == 8
    assert [work.trial.signature() for work in together.grid()] == [
        work.trial.signature() for work in apart.grid()
    ]
    assert (together.identity, together.study) == (apart.identity, apart.study)


def test_seeds_and_ways_of_training_go_together_and_nothing_else(one: str) -> None:
    settings = a_job(one).grid()[0].trial
    training = settings.training
    alike = [
        replace(settings, seed=7),
        replace(settings, options={**settings.options, "dropout": 0.1}),
        *(
            replace(settings, training=replace(training, **changes))
            for changes in (
                {"learning_rates": (0.1,)},
                {"epochs_per_stage": 9, "patience": 1},
                {"optimizer": "adam"},
                {"momentum": 0.5, "weight_decay": 0.1, "lr_decay": 0.0, "norm_momentum": 0.5},
            )
        ),
    ]
    other = [
        replace(settings, network="samplecnn_m3_n4_s729"),
        replace(settings, options={**settings.options, "filters": "half"}),
        replace(settings, convention="another"),
        replace(settings, fingerprint="another"),
        *(
            replace(settings, training=replace(training, **changes))
            for changes in (
                {"batch_size": 4},
                {"crops": not training.crops},
                {"multiply_adds_per_epoch": 1e9},
                {"precision": "bf16"},
            )
        ),
    ]
    assert {kind(each) for each in alike} == {kind(settings)}
    assert len({kind(each) for each in (settings, *other)}) == 1 + len(other)


def a_work(multiply_adds: int, memory_bytes: int = GB) -> Work:
    job = a_job("space=smoke", "budget.batch_size=23")
    work = replace(job.grid()[0], multiply_adds=multiply_adds, parameters=0)
    per_segment = (memory_bytes - PROCESS_BYTES) // (2 * 23)
    return replace(work, training_bytes=per_segment)


GPU = room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}])
CPU = room_of(Cluster(), [{"CPU": 2.0, "memory": 8e9}])
SMALL_NETWORK, LARGE_NETWORK = 15_218_816, 1_728_067_712  # 3^4 frame-level, and 3^9


@pytest.mark.usefixtures("fresh_home")
def test_auto_is_as_many_as_pay() -> None:
    small, large = a_work(SMALL_NETWORK), a_work(LARGE_NETWORK)
    on_gpu, on_cpu = Packer(None, 1.0), Packer(0.0, 0.0)
    assert most_together("auto", small, GPU, on_gpu, left=lambda: 100) == MOST_BY_ITSELF
    assert most_together("auto", large, GPU, on_gpu, left=lambda: 100) == 1
    assert most_together("auto", small, CPU, on_cpu, left=lambda: 100) == 1
    assert most_together(4, small, CPU, on_cpu, left=lambda: 100) == 4
    assert most_together(4, large, GPU, on_gpu, left=lambda: 100) == 4
    assert most_together("auto", small, GPU, Packer(4.0, 8.0), left=lambda: 100) == 1  # several GPUs a trial


@pytest.mark.usefixtures("fresh_home")
def test_auto_leaves_no_gpu_idle() -> None:
    small, four = a_work(SMALL_NETWORK), Packer(None, 4.0)
    assert [most_together("auto", small, GPU, four, partial(int, left)) for left in (1, 4, 5, 12, 99)] == [
        1,
        1,
        2,
        3,
        8,
    ]


@pytest.mark.usefixtures("fresh_home")
def test_no_more_go_together_than_fit_into_memory() -> None:
    work = a_work(SMALL_NETWORK, memory_bytes=PROCESS_BYTES + GB)
    assert together_bytes(work, 5) == pytest.approx(PROCESS_BYTES + 5 * GB, rel=1e-6)
    assert most_together(16, work, CPU, Packer(0.0, 0.0), left=lambda: 100) == 7  # of 8 GB
    seen = [Seen(work.family, 2 * GB + CONTEXT_BYTES, 2 * GB, 10 * GB)]  # as predicted
    assert most_together(16, work, GPU, Packer(None, 1.0, seen), left=lambda: 100) == 8  # with a margin
    assert most_together(16, work, GPU, Packer(0.5, 1.0, seen), left=lambda: 100) == 3
    assert (
        most_together(16, replace(work, training_bytes=GB), GPU, Packer(None, 1.0, seen), left=lambda: 100)
        == 1
    )


def test_a_hand_holds_what_goes_together_and_asks_for_the_room_of_all(one: str) -> None:
    job = a_job(one, "seeds=2", "cluster.together=5")
    desk, watching = a_desk(job)
    config = desk.assign("a")
    assert config is not None
    assert len(config["beside"]) == 4
    signatures = [each.signature for each in desk.hands["a"].trials]
    assert signatures == sorted(signatures), "two searches could wait for each other's folders"
    assert config["signature"] == signatures[0]
    assert config["memory_bytes"] == together_bytes(job.grid()[0], 5)
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


def test_trials_on_a_gpu_go_together_by_themselves(one: str) -> None:
    packer, room = Packer(None, gpus=1), room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}])
    job = a_job(one)
    desk, _ = a_desk(job, room, packer)
    config = desk.assign("a")
    assert config is not None
    assert (len(config["beside"]), config["gpus"], config["threads"]) == (3, 1.0, 16)
    use = {"device": "NVIDIA H200", "gpu_bytes": 141 * GB, "peak_bytes": GB}
    for place in range(4):
        row = {"place": place, "epoch": 1, "valid_roc_auc": 0.5, "stage": 0, "gpu": use, "last": False}
        desk.tell("a", row)
    assert [(each.outcome, each.together) for each in Records().searches()[0].records] == [("running", 4)] * 4
    (seen,) = packer.seen
    assert seen.predicted_bytes == together_bytes(job.grid()[0], 4)
