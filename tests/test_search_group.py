"""Several trials in one process: each is, in its folder and in its rows, the trial that it would be alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch

import datasets
import zoo
from search import files
from search.failures import HOST_MEMORY, LOST
from search.running import halting
from search.running.process import TrialProcess
from search.settings import Training, TrialSettings
from search.trials import usage
from search.trials.attempts import Attempt, Limit, loss
from search.trials.cuda_graphs import Stepper
from search.trials.feed import Feed
from search.trials.group import APART
from search.trials.training import Fit
from search.trials.trial import Trial

NETWORK = "samplecnn_m3_n3_s729"
OF_ONE_LENGTH = (NETWORK, "samplecnn_m3_n4_s243", "samplecnn_m3_n5_s81")
# Three batches an epoch.
SMALL = Training(learning_rates=(0.05, 0.01), epochs_per_stage=1, batch_size=8, multiply_adds_per_epoch=1.3e8)
MORE = replace(SMALL, epochs_per_stage=2)
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at eight clips is enough to tell trainings apart."""
    clips = Feed.clips_together
    monkeypatch.setattr(Feed, "clips_together", lambda feed, most, team: islice(clips(feed, 1, team), 8))


def settings(
    seed: int = 1, training: Training = SMALL, network: str = NETWORK, **options: Any
) -> TrialSettings:
    card = datasets.card("demo")
    return TrialSettings(
        network=network,
        options={**zoo.entry(network).options, **options},
        training=training,
        seed=seed,
        dataset="demo",
        fingerprint=card.fingerprint,
        convention=card.default_convention,
        tag_hash=card.tag_hash,
    )


def three_batches_of(network: str) -> Training:
    """SMALL, whose epochs are of three batches of this network, too."""
    cost = zoo.entry(network).cost(len(datasets.card("demo").tags)).multiply_adds
    return replace(SMALL, multiply_adds_per_epoch=3.0 * SMALL.batch_size * cost)


def a_process(trials: Sequence[TrialSettings], **more: Any) -> TrialProcess:
    """A worker's end without a worker around it."""
    process = TrialProcess.__new__(TrialProcess)
    process.setup(a_config(trials) | more)
    return process


def a_config(trials: Sequence[TrialSettings]) -> dict[str, Any]:
    first, *beside = trials
    return {
        "home": os.environ["WAVEZOO_HOME"],
        "threads": 1,
        "lineage": {},
        "settings": first.to_json(),
        "signature": first.signature(),
        "beside": [each.to_json() for each in beside],
    }


def rest(process: TrialProcess) -> Rows:
    """The rows until the last one."""
    rows = [process.step()]
    while not rows[-1]["done"]:
        rows.append(process.step())
    assert process.group is None, "the trials were not let go of"
    return rows


def of(rows: Rows, place: int) -> Rows:
    return [row for row in rows if row.get("place") == place]


def left_behind(home: Path, trials: Sequence[TrialSettings]) -> list[Any]:
    """What their folders hold of each, but for how long it took."""
    told = []
    for each in trials:
        folder = home / "trials" / each.signature()
        result, epochs = (json.loads((folder / name).read_text()) for name in (files.RESULT, files.EPOCHS))
        for row in (result, *epochs):
            del row["seconds"]
        weights = (folder / files.CHECKPOINT / "weights.safetensors").read_bytes()
        told.append((result, epochs, weights))
    return told


@pytest.fixture
def alone(fresh_home: Path) -> Callable[[Sequence[TrialSettings]], list[Any]]:
    """Trains each by itself, and leaves the home without them."""

    def train(trials: Sequence[TrialSettings]) -> list[Any]:
        for each in trials:
            rows = rest(a_process([each]))
            assert "result" in rows[-1], rows[-1]
        told = left_behind(fresh_home, trials)
        (fresh_home / "trials").rename(fresh_home / "alone")
        return told

    return train


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trainings took each step together."""
    step, taken = Stepper.step, list[int]()
    monkeypatch.setattr(
        Stepper,
        "step",
        lambda self, optimizers, *given: taken.append(len(optimizers)) or step(self, optimizers, *given),
    )
    return taken


Alone = Callable[[Sequence[TrialSettings]], list[Any]]


def test_trials_together_leave_behind_what_each_leaves_alone(
    alone: Alone, steps: list[int], fresh_home: Path
) -> None:
    trials = [
        settings(1),
        settings(2, replace(SMALL, learning_rates=(0.1, 0.02, 0.01)), dropout=0.2),
        settings(3, replace(SMALL, optimizer="adam", learning_rates=(0.001,), weight_decay=0.01)),
    ]
    wanted = alone(trials)
    steps.clear()
    rows = rest(a_process(trials))
    assert steps == [3] * 3 + [2] * 3 + [1] * 3
    assert [(row["place"], row["epoch"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (1, 3)]
    assert [row["last"] for row in rows] == [False, False, True, True, False, True]
    assert left_behind(fresh_home, trials) == wanted
    notes = [usage.read(each.signature()) for each in trials]
    assert [[note["epoch"] for note in each] for each in notes] == [[1, 2], [1, 2, 3], [1]]
    assert notes[0][0] == notes[1][0] == notes[2][0], (
        "it was noted for one what the others had left of the machine"
    )


def test_trials_of_other_networks_together_leave_behind_what_each_leaves_alone(
    alone: Alone, steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1, three_batches_of(name), name) for name in OF_ONE_LENGTH]
    wanted = alone(trials)
    steps.clear()
    rest(a_process(trials))
    assert set(steps) == {3}
    assert left_behind(fresh_home, trials) == wanted


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("other", OF_ONE_LENGTH[:2])
def test_trials_together_have_one_copy_of_the_music(other: str) -> None:
    process = a_process([settings(1), settings(2, three_batches_of(other), other, dropout=0.1)])
    process.step()
    assert process.group is not None
    first, second = (trial.fit for trial in process.group.trials.values())
    assert (first.train.split, first.valid.split) == (second.train.split, second.valid.split)
    assert first.network is not second.network
    assert [fit.train.entry.name for fit in (first, second)] == [NETWORK, other]
    process.cleanup()


@pytest.mark.usefixtures("fresh_home")
def test_one_that_diverges_fails_and_the_others_go_on() -> None:
    trials = [settings(1), settings(2, replace(SMALL, learning_rates=(1e30,))), settings(3)]
    rows = rest(a_process(trials))
    assert [row["failure"]["kind"] for row in of(rows, 1)] == ["diverged"]
    for place in (0, 2):
        assert [row["epoch"] for row in of(rows, place)] == [1, 2]
        assert "result" in of(rows, place)[-1]
    assert files.read_result(trials[1].signature()) is None


def test_one_that_is_left_out_trains_no_epoch_more(
    alone: Alone, steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1, MORE), settings(2, MORE)]
    wanted = alone(trials[1:])
    left_out: set[str] = set()
    monkeypatch.setattr(halting, "is_left_out", left_out.__contains__)
    process = a_process(trials)
    rows = [process.step() for _ in trials]
    left_out.add(trials[0].signature())
    rows += rest(process)
    assert [row["epoch"] for row in of(rows, 0)] == [1]
    assert left_behind(fresh_home, trials[1:]) == wanted
    # Its folder is free, and it could go on where it is.
    with Trial(trials[0], "cpu", {}) as trial:
        assert trial.advance()["epoch"] == 2


@pytest.mark.usefixtures("fresh_home")
def test_when_all_are_left_out_the_process_says_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halting, "is_left_out", lambda signature: True)
    (row,) = rest(a_process([settings(1), settings(2)]))
    assert {"epoch", "failure", "result"}.isdisjoint(row)


def halted_after(asks: int) -> Callable[[], Callable[[], bool]]:
    """In place of halting.Look: false so often, and then true."""
    asked = count()
    return lambda: lambda: next(asked) >= asks


@pytest.mark.usefixtures("small_looks")
def test_halted_anywhere_each_saves_and_goes_on_to_the_same_numbers(
    alone: Alone, steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among batches, while one of them looks at clips, as one has ended and is tested."""
    trials = [settings(1), settings(2), settings(3)]
    wanted = alone(trials)
    moments = []
    steps.clear()
    for halted_at in range(4, 100, 3):
        with monkeypatch.context() as patch:
            patch.setattr(halting, "Look", halted_after(halted_at))
            rows = rest(a_process(trials))
        if "paused" not in rows[-1]:
            break
        moments.append(len([*fresh_home.glob(f"trials/*/{files.MOMENT}")]))
        rest(a_process(trials))
        assert left_behind(fresh_home, trials) == wanted, halted_at
        assert sum(steps) == 3 * 2 * 3, "a step was lost, and taken again"
        steps.clear()
        (fresh_home / "trials").rename(fresh_home / f"halted after {halted_at}")
    assert len(moments) > 5
    assert set(moments) == {0, 1, 2, 3}, "it was not halted everywhere"


DIES = """
import json, os, sys
from itertools import islice
from search.trials.feed import Feed
from search.running.process import TrialProcess
clips = Feed.clips_together
Feed.clips_together = lambda feed, most, team: islice(clips(feed, 1, team), 8)
process = TrialProcess.__new__(TrialProcess)
process.setup(json.loads(sys.argv[1]))
rows = [process.step() for _ in range(3)]
print(json.dumps([(row["place"], row["epoch"]) for row in rows]), flush=True)
os._exit(137)
"""


def test_after_a_killed_process_each_goes_on_from_its_own_last_epoch(alone: Alone, fresh_home: Path) -> None:
    trials = [settings(1, MORE), settings(2, MORE)]
    wanted = alone(trials)
    config = a_config(trials) | {"limit": {"minutes": "auto", "guess_seconds": 1.0}}
    answer = subprocess.run(
        [sys.executable, "-c", DIES, json.dumps(config)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 137, answer.stderr
    assert json.loads(answer.stdout) == [[0, 1], [1, 1], [0, 2]]
    rows = rest(a_process(trials, limit=config["limit"]))
    assert [row["epoch"] for row in of(rows, 0)] == [3, 4]
    assert [row["epoch"] for row in of(rows, 1)] == [2, 3, 4]
    assert left_behind(fresh_home, trials) == wanted


def scarce(monkeypatch: pytest.MonkeyPatch, trainings: int) -> list[int]:
    """A memory that holds the steps of so many trainings. Returns of how many each step was that was tried."""
    step, tried = Stepper.step, list[int]()

    def within(self: Stepper, optimizers: Any, *given: Any) -> Any:
        tried.append(len(optimizers))
        if len(optimizers) > trainings and len(tried) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, optimizers, *given)

    monkeypatch.setattr(Stepper, "step", within)
    return tried


def test_where_the_memory_ends_they_fall_apart_and_none_fails(
    alone: Alone, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2), settings(3)]
    wanted = alone(trials)
    tried = scarce(monkeypatch, 1)
    rows = rest(a_process(trials))
    assert tried == [3] * 5 + [1] * 9  # in the second epoch, which each does again for itself
    for each in trials:
        why = (files.trial_folder(each.signature()) / APART).read_text()
        assert why.rstrip().endswith("torch.OutOfMemoryError: CUDA out of memory.")
    assert [(row["place"], row["epoch"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    assert left_behind(fresh_home, trials) == wanted


def test_memory_that_ends_as_one_is_tested_is_no_failure_of_it(
    alone: Alone, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2)]
    wanted = alone(trials)
    finish, tested = Trial._finish, count()

    def once_too_large(trial: Trial) -> dict[str, Any]:
        if next(tested) == 0:
            raise MemoryError("no room for 7 bytes")
        return finish(trial)

    monkeypatch.setattr(Trial, "_finish", once_too_large)
    rows = rest(a_process(trials))
    assert "failure" not in rows[-1]
    assert left_behind(fresh_home, trials) == wanted


def test_what_goes_wrong_in_one_is_its_own_failure(
    alone: Alone, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2), settings(3)]
    wanted = alone([trials[0], trials[2]])
    gradients = Fit.gradients

    def broken(fit: Fit, *given: Any) -> Any:
        return [][1] if fit.seed == 2 else gradients(fit, *given)

    monkeypatch.setattr(Fit, "gradients", broken)
    rows = rest(a_process(trials))
    (failed,) = of(rows, 1)
    assert failed["failure"]["why"].startswith("IndexError: list index out of range (more in ")
    assert left_behind(fresh_home, [trials[0], trials[2]]) == wanted


def test_one_that_has_its_result_already_tells_it_and_trains_nothing(
    steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1), settings(2), settings(3)]
    rest(a_process(trials[1:2]))
    there = left_behind(fresh_home, trials[1:2])
    steps.clear()
    rows = rest(a_process(trials))
    assert [row["result"]["signature"] for row in of(rows, 1)] == [trials[1].signature()]
    assert steps == [2] * 6
    assert left_behind(fresh_home, trials[1:2]) == there


def test_one_that_is_in_the_middle_of_an_epoch_ends_it_alone_and_then_joins(
    alone: Alone, steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1, MORE), settings(2, MORE)]
    wanted = alone(trials)
    with monkeypatch.context() as patch:
        patch.setattr(halting, "Look", halted_after(3))
        assert rest(a_process(trials[1:]))[-1]["paused"]
    steps.clear()
    rows = rest(a_process(trials))
    assert [(row["place"], row["epoch"]) for row in rows[:3]] == [(1, 1), (0, 1), (1, 2)]
    assert steps[steps.index(2) :] == [2] * 9 + [1] * 3
    assert left_behind(fresh_home, trials) == wanted


def test_one_whose_batches_are_cut_in_parts_goes_alone_after_the_others(
    steps: list[int], fresh_home: Path
) -> None:
    trials = [settings(1, MORE), settings(2, MORE), settings(3, MORE)]
    with Trial(trials[0], "cpu", {}) as trial:
        trial.fit.micro_batch_size = 4
        trial.advance()
    rows = rest(a_process(trials))
    assert set(steps) == {2}, "what is cut takes its steps by itself"
    assert [row["place"] for row in rows] == [1, 2] * 4 + [0] * 3
    assert [row["micro_batch_size"] for row in of(rows, 0)] == [4] * 3


def test_after_a_process_that_was_ended_for_memory_they_go_one_after_the_other(
    steps: list[int], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [settings(1), settings(2)]
    for cause, together in ((LOST, 2), (HOST_MEMORY, 1)):
        with monkeypatch.context() as patch:
            patch.setattr("search.trials.attempts.cause", lambda folder, cause=cause: cause)
            rows = rest(a_process(trials, limit={"minutes": "auto", "guess_seconds": 1.0}))
        assert sum("result" in row for row in rows) == 2
        assert set(steps) == {together}
        steps.clear()
        (fresh_home / "trials").rename(fresh_home / cause.name)


def test_a_process_at_several_trials_that_hangs_is_known_at_each(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    limit = Limit("auto", 1.0)
    attempts = [Attempt(first, limit, [second]), Attempt(second, limit, [first])]
    attempts[0]._stacks.write(b"Timeout!")
    for attempt in attempts:
        attempt._stacks.close()
    for folder in (first, second):
        told = loss(folder)
        assert told["kind"] == "hang"
        assert told["why"].endswith(f"where it stood is in {first}/hang.txt")
