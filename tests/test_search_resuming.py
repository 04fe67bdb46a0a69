"""A trial that was left, stopped or killed at any moment is taken up again, and ends as if nothing had happened."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_search_training import SMALL, settings, without_time

from search import files
from search.settings import TrialSettings
from search.trials import trial as trials
from search.trials.training import Fit
from search.trials.trial import Paused, Trial

KILLING = Path(__file__).with_name("killed_trials.py")


def one_epoch(trial: TrialSettings) -> dict:
    """What another process does: take the trial up, train an epoch, end."""
    with Trial(trial, "cpu", {}) as taken_up:
        return taken_up.advance()


def test_a_trial_goes_on_from_its_last_epoch_in_another_process(fresh_home: Path) -> None:
    with Trial(settings(seed=4), "cpu", {}) as whole:
        wanted = [whole.advance() for _ in range(4)]
    (fresh_home / "trials").rename(fresh_home / "elsewhere")
    rows = [one_epoch(settings(seed=4)) for _ in range(4)]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert without_time(files.read_epochs(settings(seed=4).signature())) == without_time(whole.history)
    assert rows[-1]["result"]["test"] == wanted[-1]["result"]["test"]
    assert one_epoch(settings(seed=4))["result"] == rows[-1]["result"]


def after(calls: int) -> Callable[[], bool]:
    """False so often, and true from then on."""
    count = iter(range(calls))
    return lambda: next(count, None) is None


def until_paused(trial: Trial) -> list[dict]:
    rows = []
    with contextlib.suppress(Paused):
        while not trial.result:
            rows.append(trial.advance())
    assert not trial.result, "it did not pause"
    return rows


@pytest.mark.usefixtures("small_looks")
def test_a_trial_that_is_told_to_pause_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(
    fresh_home: Path,
) -> None:
    short = replace(SMALL, epochs_per_stage=1)
    with Trial(settings(short, seed=4), "cpu", {}) as whole:
        wanted = [whole.advance() for _ in range(2)]
    (fresh_home / "trials").rename(fresh_home / "elsewhere")
    rows, moment = [], whole.folder / files.MOMENT
    # In the first epoch's batches; in its clips; in the second epoch; among the test clips; before anything.
    for calls, inside in ((3, True), (10, True), (22, True), (20, False), (0, False)):
        with Trial(settings(short, seed=4), "cpu", {}, halted=after(calls)) as trial:
            rows += until_paused(trial)
        assert moment.exists() == inside
    rows.append(one_epoch(settings(short, seed=4)))
    assert without_time(files.read_epochs(whole.settings.signature())) == without_time(whole.history)
    assert rows[-1]["result"]["test"] == wanted[-1]["result"]["test"]
    assert not moment.exists()
    assert not (whole.folder / files.STATE).exists()


def test_a_process_killed_in_the_middle_of_an_epoch_costs_what_came_after_its_last_save(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(SMALL, epochs_per_stage=1)
    with Trial(settings(short, seed=7), "cpu", {}) as whole:
        wanted = [whole.advance() for _ in range(2)]
    (fresh_home / "trials").rename(fresh_home / "elsewhere")
    monkeypatch.setattr(trials, "MOMENT_SECONDS", 0.0)
    monkeypatch.setattr(trials, "MOMENT_SHARE", 1e9)  # at each batch
    gradients, updates = Fit.gradients, []

    def killed(fit: Fit, *batch: object) -> torch.Tensor:
        updates.append(fit.progress.epoch)
        if len(updates) == 3:
            raise KeyboardInterrupt  # passes everything that handles errors, as a kill does
        return gradients(fit, *batch)

    monkeypatch.setattr(Fit, "gradients", killed)
    with Trial(settings(short, seed=7), "cpu", {}) as trial, pytest.raises(KeyboardInterrupt):
        trial.advance()
    rows = [one_epoch(settings(short, seed=7)) for _ in range(2)]
    assert updates == [0, 0, 0, 0, 1, 1, 1], "batches that had been saved were trained again"
    assert without_time(files.read_epochs(whole.settings.signature())) == without_time(whole.history)
    assert rows[-1]["result"]["test"] == wanted[-1]["result"]["test"]


@pytest.mark.usefixtures("fresh_home")
def test_two_searches_at_once_train_a_network_once() -> None:
    found: list[dict] = []
    with Trial(settings(seed=5), "cpu", {}) as first:
        other = threading.Thread(target=lambda: found.append(one_epoch(settings(seed=5))))
        other.start()
        for _ in range(4):
            row = first.advance()
            assert not found, "the other one did not wait"
    other.join(timeout=60)
    assert found[0]["result"] == row["result"]


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    "left",
    [
        "state.safetensors.1.part",
        ".checkpoint.1.0123abcd.part/weights.safetensors",
        ".checkpoint.1.0123abcd.old.part/card.json",
        "checkpoint/card.json.1.part",
    ],
)
def test_what_a_killed_writer_left_is_removed(left: str) -> None:
    folder = files.trial_folder(settings(seed=6).signature())
    (folder / left).parent.mkdir(parents=True)
    (folder / left).write_text("half")
    with Trial(settings(seed=6), "cpu", {}):
        pass
    assert not list(folder.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_home")
def test_a_kill_at_any_change_to_a_trials_folder_loses_changes_and_leaves_nothing() -> None:
    killed = subprocess.run(
        [sys.executable, str(KILLING)], capture_output=True, text=True, timeout=300, check=False
    )
    said = killed.stdout.splitlines()
    assert killed.returncode == 0, killed.stderr
    assert len(said) == 1, "\n".join([killed.stdout, killed.stderr])
    assert int(said[0].removesuffix(" kills")) > 40
