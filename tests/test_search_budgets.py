"""Hours as limits: plans that are clearly larger, and searches that reach them."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hands import a_job

from search import files, run
from search.errors import ConfigError
from search.machine import local_device
from search.planning import limits, throughput
from search.planning.estimates import Outlook
from search.planning.hardware import Machines
from search.run import main
from search.running.desk import Desk
from search.running.meter import Meter, Reached
from search.settings import Limits
from search.study import ledger
from search.study.deciding import Decider

EIGHT = Machines("NVIDIA H200", 8, None, 141 * 10**9, None)
HOUR = 3600.0


def outlook(hours: float, factor: float, gpus: int = 8) -> Outlook:
    seconds = hours * HOUR
    return Outlook(42, 0, seconds, seconds / factor, seconds * factor, seconds / gpus, gpus, 0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_plan_is_refused_only_if_it_is_larger_even_at_its_least() -> None:
    limits.check(Limits(gpu_hours=10), outlook(40, factor=4), EIGHT)
    limits.check(Limits(), outlook(40, factor=4), EIGHT)
    with pytest.raises(ConfigError) as refused:
        limits.check(Limits(gpu_hours=10), outlook(80, factor=4), EIGHT)
    assert str(refused.value) == (
        "budget.gpu_hours=10: the plan takes roughly 80 GPU-hours and very likely 20 or more, 2 times as much; "
        "raise it, or lower seeds, trials, budget or the space"
    )
    with pytest.raises(ConfigError, match=r"budget\.gpu_hours=10: the plan takes roughly 80"):
        limits.check(Limits(gpu_hours=10), outlook(80, factor=2), EIGHT)  # the surer, the closer


def test_more_gpus_help_against_the_clock_only() -> None:
    limits.check(Limits(wall_hours=1), outlook(80, factor=4, gpus=32), EIGHT)
    with pytest.raises(ConfigError, match=r"budget\.wall_hours=1: .* 10 hours by the clock .*, or add GPUs$"):
        limits.check(Limits(wall_hours=1), outlook(80, factor=4, gpus=8), EIGHT)


def test_what_earlier_commands_spent_counts() -> None:
    limits.check(Limits(gpu_hours=10), outlook(20, factor=4), EIGHT, spent_seconds=4 * HOUR)
    with pytest.raises(ConfigError, match="roughly 26 GPU-hours and very likely 11 or more"):
        limits.check(Limits(gpu_hours=10), outlook(20, factor=4), EIGHT, spent_seconds=6 * HOUR)
    limits.check(Limits(gpu_hours=10), Outlook(0, 0, 0, 0, 0, 0, 1, 0), EIGHT, spent_seconds=60 * HOUR)


def test_hours_of_gpus_are_counted_by_the_part_of_them() -> None:
    meter = Meter(Limits(gpu_hours=1))
    meter.took(HOUR, 0.25)
    meter.took(HOUR, 0.5)
    assert meter.reached() == ""
    meter.took(HOUR, 0.25)
    assert meter.reached() == "budget.gpu_hours=1 is reached, 1 are spent"


def test_on_processors_the_hours_of_the_trials_are_counted() -> None:
    meter = Meter(Limits(gpu_hours=2), spent_seconds=HOUR)
    meter.took(0.5 * HOUR, 0.0)
    assert meter.reached() == ""
    meter.took(0.5 * HOUR, 0.0)
    assert meter.reached().startswith("budget.gpu_hours=2 is reached")


def test_the_clock_is_this_commands_own() -> None:
    clock = Clock()
    meter = Meter(Limits(wall_hours=0.5), spent_seconds=99 * HOUR, clock=clock)
    clock.now += 1799
    assert meter.reached() == ""
    clock.now += 1
    assert meter.reached() == "budget.wall_hours=0.5 is reached"


def test_the_words_that_go_on_raise_what_was_reached() -> None:
    words = ("space=table2", "budget.gpu_hours=1", "seeds=3")
    reached = Meter(Limits(gpu_hours=1), spent_seconds=1.04 * HOUR)
    assert reached.next_words(words, 2 * HOUR) == ("space=table2", "seeds=3", "budget.gpu_hours=4.1")
    by_the_clock = Meter(Limits(gpu_hours=1, wall_hours=1), spent_seconds=0.5 * HOUR)
    assert by_the_clock.next_words(words, 2 * HOUR) == words


@pytest.mark.usefixtures("fresh_home")
def test_what_a_study_has_spent_is_what_its_own_epochs_took() -> None:
    job = a_job("space=smoke")
    study = ledger.open_study(job)
    decider = Decider(study, job)
    first, second, third = decider.next(), decider.next(), decider.next()
    rows = [{"epoch": 1, "valid_roc_auc": 0.5, "seconds": 30.0, "stage": 0}]
    files.write_json(files.trial_folder(first.signature) / files.EPOCHS, rows)
    files.write_json(files.trial_folder(second.signature) / files.EPOCHS, [*rows, {**rows[0], "epoch": 2}])
    decider.note_gpus(second.number, 0.25)
    decider.fail(second.number, "diverged", "as tests go")
    decider.fail(third.number, "diverged", "before its first epoch")
    assert ledger.spent_seconds(study) == 30.0 + 0.25 * 60.0


@pytest.mark.usefixtures("fresh_home")
def test_what_another_search_has_trained_is_not_spent() -> None:
    job = a_job("space=smoke")
    for work in job.grid():
        folder = files.trial_folder(work.trial.signature())
        files.write_json(folder / files.RESULT, {"valid": {"roc_auc": 0.5}})
        files.write_json(
            folder / files.EPOCHS, [{"epoch": 1, "valid_roc_auc": 0.5, "seconds": 9.0, "stage": 0}]
        )
    study = ledger.open_study(job)
    assert Decider(study, job).next() is None
    assert ledger.spent_seconds(study) == 0.0


@pytest.mark.usefixtures("fresh_home")
def test_limits_are_no_part_of_what_a_search_or_a_trial_is() -> None:
    free, limited = a_job("space=smoke"), a_job("space=smoke", "budget.gpu_hours=3", "budget.wall_hours=1")
    assert limited.study == free.study
    assert [work.trial.signature() for work in limited.grid()] == [w.trial.signature() for w in free.grid()]


@pytest.mark.usefixtures("fresh_home")
def test_a_plan_that_is_clearly_larger_ends_with_2_after_it_was_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["space=table2", "dataset=mtat", "cluster.gpus=8", "cluster.device=H200", "plan=true"]
    assert main([*words, "budget.gpu_hours=1"]) == 2
    said = capsys.readouterr()
    assert "samplecnn_m3_n9_s3" in said.out
    assert said.err.startswith("budget.gpu_hours=1: the plan takes roughly ")
    assert main([*words, "budget.gpu_hours=1000", "budget.wall_hours=100"]) == 0


def test_the_alarm_rings_though_no_epoch_ends() -> None:
    rung = threading.Event()
    meter = Meter(Limits(wall_hours=0.05 / HOUR))
    with meter.watching(lambda reached: rung.set()):
        assert rung.wait(30)


def test_an_epoch_that_reaches_the_limit_rings_at_once() -> None:
    told: list[Reached] = []
    meter = Meter(Limits(gpu_hours=1))
    with meter.watching(told.append):
        meter.epoch(None, {"seconds": 1800.0, "gpus": 1.0})
        assert not told
        meter.epoch(None, {"seconds": 1800.0, "gpus": 1.0})
    assert [str(each) for each in told] == ["budget.gpu_hours=1 is reached, 1 are spent"]


class Stop:
    """Stands for halting.Halt, which asks Ray."""

    error: BaseException | None = None

    def ask(self, error: BaseException, why: str) -> None:
        self.error = self.error or error


@pytest.mark.usefixtures("fresh_home")
def test_a_search_that_reaches_its_hours_is_halted_and_says_how_it_goes_on() -> None:
    job = a_job("space=smoke", "budget.gpu_hours=1")
    decider, meter, stop = Decider(ledger.open_study(job), job), Meter(job.settings.limits), Stop()
    desk = Desk(decider, [meter], {}, stop)
    row = {"epoch": 1, "valid_roc_auc": 0.5, "stage": 0, "gpus": 0.0}
    with meter.watching(lambda reached: stop.ask(reached, str(reached))):
        first = desk.assign("a")
        desk.tell("a", {**row, "seconds": 3599.0})
        assert stop.error is None
        desk.tell("a", {**row, "epoch": 2, "seconds": 1.0})
    assert desk.assign("b") is None
    desk.tell("a", {"paused": True})
    desk.end("a", lost=False)
    said = str(run._reached(job, decider, meter, stop.error))
    assert said.startswith(
        "budget.gpu_hours=1 is reached, 1 are spent; 0 of 4 trainings have ended and nothing is lost. "
    )
    assert "To go on: python -m search.run space=smoke budget.gpu_hours=1." in said
    assert Decider(ledger.open_study(job), job).next().signature == first["signature"]


def test_a_search_that_has_taken_all_it_may_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(typed: object) -> int:
        raise Reached("budget.wall_hours=1 is reached")

    monkeypatch.setattr(run, "_run", reach)
    assert main(["space=smoke"]) == 130
    assert capsys.readouterr().err == "\nbudget.wall_hours=1 is reached\n"


SMALL = ("space=smoke", "dataset=demo", "budget=small", "budget.epochs_per_stage=3", "publish=false")


@pytest.mark.slow
def test_a_search_that_reaches_its_hours_stops_and_goes_on_with_more(
    fresh_home: Path, mlflow_db: Path
) -> None:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    small = (*SMALL, "budget.multiply_adds_per_epoch=2e8")
    # Or the plan alone would be refused, as it is for a slower machine
    for family in ("samplecnn", "melcnn"):
        throughput.note(local_device(), family, training=1e15, evaluation=0, seconds=1)
    stopped = search(*small, "budget.gpu_hours=0.001")  # 3.6 seconds of trials
    assert stopped.returncode == 130, stopped.stdout + stopped.stderr
    assert "budget.gpu_hours=0.001 is reached" in stopped.stderr
    again = shlex.split(stopped.stderr.rpartition("To go on: ")[2])
    assert again[:3] == ["python", "-m", "search.run"]
    assert again[-1].startswith("budget.gpu_hours=")
    before = epochs(fresh_home)
    assert sum(map(len, before.values())) > 0
    refused = search(*small, "budget.gpu_hours=0.001")  # what is spent counts
    assert refused.returncode == 2
    assert "budget.gpu_hours=0.001: the plan takes roughly" in refused.stderr
    ended = search(*small)
    assert ended.returncode == 0, ended.stderr
    after = epochs(fresh_home)
    assert len(after) == 4
    for signature, rows in before.items():
        assert after[signature][: len(rows)] == rows  # nothing was trained twice


def epochs(home: Path) -> dict[str, list[dict[str, object]]]:
    return {file.parent.name: json.loads(file.read_text()) for file in home.glob("trials/*/epochs.json")}


def search(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "search.run", *words],
        env={**os.environ, "MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
