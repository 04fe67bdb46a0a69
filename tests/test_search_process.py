"""What a worker says of its GPU's memory, without one, and how it watches over trials that go together."""

import faulthandler
from dataclasses import replace
from typing import Any

import pytest
import torch
from processes import (  # noqa: F401
    MORE,
    SMALL,
    Rows,
    a_process,
    few_clips,
    halted_after,
    rest,
    settings,
)

from search.running import halting
from search.running.process import TrialProcess
from search.trials import evaluation, usage, worker
from search.trials.cuda_graphs import Stepper


class Card:
    """A GPU of which each training takes a byte while it steps. Its peak is counted as torch's is."""

    def __init__(self) -> None:
        self.holds, self.peak_bytes = 9, 0

    def take(self, trainings: int) -> None:
        self.peak_bytes = max(self.peak_bytes, min(trainings, self.holds))
        if trainings > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def count_anew(self) -> dict[str, float]:
        self.peak_bytes = 0
        return {}


@pytest.fixture
def card(fresh_home: object, monkeypatch: pytest.MonkeyPatch) -> Card:
    card, step, taken = Card(), Stepper.step, TrialProcess._taken

    def on_it(stepper: Stepper, optimizers: Any, *given: Any) -> Any:
        card.take(len(optimizers))
        return step(stepper, optimizers, *given)

    def told(process: TrialProcess, row: Any) -> dict[str, Any]:
        process.device = "cuda"  # its trials were made on the processor
        return taken(process, row)

    monkeypatch.setattr(Stepper, "step", on_it)
    monkeypatch.setattr(TrialProcess, "_taken", told)
    monkeypatch.setattr(usage, "_gpu", card.count_anew)
    monkeypatch.setattr(worker, "gpu_use", lambda music_bytes: {"peak_bytes": card.peak_bytes})
    return card


def used(rows: Rows) -> list[tuple[int, int, int, list[int]]]:
    """Of each row that tells it: whose it is, the epoch, the peak, and what that is of."""
    told = [row for row in rows if "gpu" in row]
    return [(row["place"], row["epoch"], row["gpu"]["peak_bytes"], row["gpu"]["places"]) for row in told]


def test_what_all_of_a_hand_took_at_once_is_told_of_all(card: Card) -> None:
    trials = [settings(1), settings(2, replace(SMALL, learning_rates=(0.01,))), settings(3)]
    rows = rest(a_process(trials, gpus=1.0))
    all_of_it = [0, 1, 2]
    assert used(rows)[:3] == [(0, 1, 3, all_of_it), (1, 1, 0, all_of_it), (2, 1, 0, all_of_it)]
    assert [places for *_, places in used(rows)[3:]] == [[0, 2]], "one of them had ended"
    assert {row["gpus"] for row in rows} == {1.0}


def test_a_hand_that_was_too_much_tells_only_what_each_takes_alone(card: Card) -> None:
    card.holds = 1
    trials = [settings(1, MORE), settings(2, MORE)]
    rows = rest(a_process(trials, gpus=1.0))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4] * 2
    assert used(rows) == [(place, epoch, 1, [place]) for place in (0, 1) for epoch in (2, 3, 4)]


def test_batches_in_parts_do_not_tell_what_whole_ones_take(card: Card) -> None:
    card.holds = 0
    rows = rest(a_process([settings()], gpus=1.0))
    assert [row["micro_batch_size"] for row in rows] == [4, 4]
    assert used(rows) == []


def test_the_rest_of_an_epoch_does_not_tell_what_a_hand_takes(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2)]
    with monkeypatch.context() as patch:
        patch.setattr(halting, "Look", halted_after(3))
        assert rest(a_process(trials[1:], gpus=1.0))[-1]["paused"]
    rows = rest(a_process(trials, gpus=1.0))
    assert (rows[0]["place"], rows[0]["epoch"]) == (1, 1)
    assert used(rows)[0] == (1, 2, 2, [0, 1])


def test_a_trial_that_had_ended_tells_nothing(card: Card) -> None:
    trials = [settings(1), settings(2), settings(3)]
    rest(a_process(trials[1:2]))
    rows = rest(a_process(trials, gpus=1.0))
    assert [row["place"] for row in rows if "result" in row] == [1, 0, 2]
    assert {tuple(places) for *_, places in used(rows)} == {(0, 2)}


@pytest.mark.usefixtures("fresh_home")
def test_memory_that_ends_as_clips_are_heard_cuts_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are heard at once does not follow from the batch."""
    tried = []

    def too_much(network: object) -> None:
        tried.append(network)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(evaluation, "folded", too_much)
    (row,) = rest(a_process([settings()]))
    assert row["failure"] == {"kind": "out of GPU memory", "why": "CUDA out of memory."}
    assert len(tried) == 1, "the epoch was trained again"


@pytest.mark.usefixtures("fresh_home")
def test_a_round_is_watched_after_one_of_a_hand_was_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one clock for the whole process."""
    trials = [settings(seed, MORE) for seed in (1, 2, 3)]
    watched, seen, step = [False], list[tuple[int, bool]](), Stepper.step

    def told(stepper: Stepper, optimizers: Any, *given: Any) -> Any:
        seen.append((len(optimizers), watched[0]))
        return step(stepper, optimizers, *given)

    def watch(*given: Any, **named: Any) -> None:
        watched[0] = True

    def rests() -> None:
        watched[0] = False

    monkeypatch.setattr(faulthandler, "dump_traceback_later", watch)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", rests)
    monkeypatch.setattr(Stepper, "step", told)
    left_out: set[str] = set()
    monkeypatch.setattr(halting, "is_left_out", left_out.__contains__)
    process = a_process(trials, limit={"minutes": "auto", "guess_seconds": 1.0})
    for _ in trials:
        process.step()
    left_out.add(trials[1].signature())
    rest(process)
    assert seen == [(3, True)] * 3 + [(2, True)] * 9
