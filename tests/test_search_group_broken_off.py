"""Several trials in one process that is halted, killed or out of memory: each goes on from its own last epoch."""

# ruff: noqa: F811 (a fixture is asked for by the name under which it is imported)

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import (  # noqa: F401
    MORE,
    Alone,
    a_config,
    a_process,
    alone,
    few_clips,
    halted_after,
    left_behind,
    of,
    rest,
    settings,
    steps,
)

from search import files
from search.failures import HOST_MEMORY, LOST
from search.running import halting
from search.trials.attempts import Attempt, Limit, loss
from search.trials.cuda_graphs import Stepper
from search.trials.group import APART
from search.trials.trial import Trial


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
