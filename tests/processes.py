"""A worker's end without a worker around it, small trials for it, and what they leave behind."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import datasets
import zoo
from search import files
from search.running.process import TrialProcess
from search.settings import Training, TrialSettings
from search.trials.cuda_graphs import Stepper
from search.trials.feed import Feed

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


def halted_after(asks: int) -> Callable[[], Callable[[], bool]]:
    """In place of halting.Look: false so often, and then true."""
    asked = count()
    return lambda: lambda: next(asked) >= asks


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
