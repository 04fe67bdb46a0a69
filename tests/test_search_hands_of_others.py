"""Trials of different networks in one hand: a step of each at once, where their epochs have as many batches."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hands import OTHERS, a_desk, a_job, a_row, numbers, states
from optuna.trial import TrialState

import zoo
from search.errors import ConfigError
from search.planning.capacity import room_of
from search.planning.estimates import rough_epoch_seconds
from search.planning.grouping import can_go_beside, together_bytes
from search.planning.job import Job, Work
from search.planning.packing import Packer
from search.running.desk import Desk
from search.running.halting import Halt
from search.settings import Cluster

OF_ONE_LENGTH = {"samplecnn_m3_n3_s729", "samplecnn_m3_n4_s243", "samplecnn_m3_n5_s81"}
JobOf = Callable[..., Job]


@pytest.fixture
def job_of(fresh_home: Path, tmp_path: Path) -> JobOf:
    """A job of four networks that hear the whole split, three of which hear segments of one length."""
    space = tmp_path / "others.py"
    space.write_text(OTHERS)
    return lambda *words: a_job(f"space={space}", "budget.multiply_adds_per_epoch=null", *words)


def networks(desk: Desk, hand: str) -> list[str]:
    return sorted(each.settings.network for each in desk.hands[hand].trials)


def test_networks_of_one_length_go_together(job_of: JobOf) -> None:
    job = job_of("cluster.together=4")
    desk, _ = a_desk(job)
    config = desk.assign("a")
    assert config is not None
    assert set(networks(desk, "a")) == OF_ONE_LENGTH
    works = [work for work in job.grid() if work.trial.network in OF_ONE_LENGTH]
    assert config["memory_bytes"] == together_bytes(works)
    assert config["limit"]["guess_seconds"] == max(rough_epoch_seconds(work, False) for work in works)
    assert desk.assign("b")
    assert networks(desk, "b") == ["samplecnn_m4_n4_s64"]
    assert desk.assign("c") is None


def test_what_differs_in_its_batches_or_its_music_or_is_of_another_family_does_not_go_beside(
    job_of: JobOf,
) -> None:
    of = {work.trial.network: work for work in job_of().grid()}
    one, other = of["samplecnn_m3_n3_s729"], of["samplecnn_m3_n5_s81"]
    assert can_go_beside(one, other)
    assert not can_go_beside(one, of["samplecnn_m4_n4_s64"])
    for difference in ({"segments_per_epoch": 8}, {"segment_samples": 8}):
        assert not can_go_beside(one, replace(other, **difference))
    of_another_family = replace(other, trial=replace(other.trial, network="melcnn_m3_n4_s729_w729"))
    assert not can_go_beside(one, of_another_family)


def test_seeds_of_one_network_go_together_before_others_do(job_of: JobOf) -> None:
    desk, _ = a_desk(job_of("seeds=2", "cluster.together=4"))
    for hand in "abcd":
        assert desk.assign(hand)
        assert len({*networks(desk, hand)}) == 1
        assert {each.settings.seed for each in desk.hands[hand].trials} == {0, 1}
    assert desk.assign("e") is None


def test_a_hand_is_as_large_as_the_largest_of_it_allows(job_of: JobOf) -> None:
    job = job_of("cluster.together=4")
    cheap, middle, dear = _by_cost(job)
    assert dear.memory_bytes > middle.memory_bytes > cheap.memory_bytes
    room = room_of(Cluster(), [{"CPU": 2.0, "memory": float(together_bytes([middle] * 2))}])
    desk, _ = a_desk(job, room)
    assert desk.assign("a")
    assert networks(desk, "a") == [cheap.trial.network, middle.trial.network], (
        "two like the dear one do not fit"
    )


def test_on_a_gpu_a_network_that_keeps_it_busy_goes_alone(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of()
    cheap, middle, dear = _by_cost(job)
    step = dear.multiply_adds * dear.trial.training.batch_size
    monkeypatch.setattr("search.planning.grouping.PAYS_BELOW", step - 1)
    desk, _ = a_desk(job, room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}]), Packer(None, gpus=1))
    assert desk.assign("a")
    assert networks(desk, "a") == [cheap.trial.network, middle.trial.network]


@pytest.mark.usefixtures("fresh_home")
def test_on_a_gpu_hands_are_as_large_as_what_was_left_at_their_beginning() -> None:
    names = [f"samplecnn_m2_n{n}_s{2 ** (14 - n)}" for n in (6, 7, 8, 9)]
    names += ["samplecnn_m4_n3_s256", "samplecnn_m4_n4_s64"]
    words = f"networks={','.join(names)}", "budget.multiply_adds_per_epoch=null"
    room = room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}])
    desk, _ = a_desk(a_job("space=table2", *words), room, Packer(None, gpus=1))
    assert desk.assign("a")
    assert networks(desk, "a") == sorted(names)


def test_an_interrupted_hand_of_several_networks_is_handed_out_again(job_of: JobOf) -> None:
    job = job_of("cluster.together=3")
    first, _ = a_desk(job)
    assert first.assign("a")
    a_row(first, "a", 1, 1)
    handed = numbers(first, "a")
    first.tell("a", {"paused": True, "done": True})
    first.end("a", lost=False)
    second, _ = a_desk(job)
    assert second.assign("b")
    assert numbers(second, "b") == handed
    assert states(second) == [TrialState.RUNNING] * 3


def test_where_the_pruner_compares_seeds_only_first_ones_go_together(job_of: JobOf) -> None:
    desk, _ = a_desk(job_of("pruner=median", "pruner.rungs=seed", "seeds=2", "cluster.together=6"))
    assert desk.assign("a")
    assert set(networks(desk, "a")) == OF_ONE_LENGTH
    assert [each.settings.seed for each in desk.hands["a"].trials] == [0, 0, 0]


def test_a_network_that_would_have_to_be_built_to_count_it_goes_alone(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo.Entry, "costs_are_known", property(lambda entry: not entry.name.endswith("s243")))
    desk, _ = a_desk(job_of("cluster.together=4"))
    assert desk.assign("a")
    assert set(networks(desk, "a")) == OF_ONE_LENGTH - {"samplecnn_m3_n4_s243"}


def test_a_hand_that_waits_for_a_gpu_is_counted_once(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    packer = Packer(None, gpus=1)
    desk, _ = a_desk(job_of(), room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}]), packer)
    packer.hold("another", 1.0)
    assert desk.assign("a") is None
    monkeypatch.setattr(Job, "work", lambda job, trial, exact=True: pytest.fail("it was counted again"))
    assert desk.assign("a") is None
    packer.release("another")
    assert desk.assign("a")
    assert set(networks(desk, "a")) == OF_ONE_LENGTH


def test_what_is_refused_after_a_hand_was_begun_does_not_lose_it(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _ = a_desk(job_of("cluster.together=3"))
    known, asked = desk.decider.next_known, list[int]()

    def refuses_the_third(wanted: object) -> object:
        asked.append(1)
        if len(asked) > 2:
            raise ConfigError("the data set was built anew")
        return known(wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.decider, "next_known", refuses_the_third)
    monkeypatch.setattr(Halt, "ask", lambda halt, error, why: setattr(halt, "error", error))  # without Ray
    assert desk.assign("a")
    assert len(desk.hands["a"].trials) == 2
    assert desk.halt.error is None
    assert desk.assign("b") is None
    assert "the data set was built anew" in str(desk.halt.error)


def _by_cost(job: Job) -> list[Work]:
    return [work for work in job.grid() if work.trial.network in OF_ONE_LENGTH]
