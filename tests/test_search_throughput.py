"""How fast trainings were, and what a plan makes of it."""

import json
from pathlib import Path

import pytest

from search.machine import local_device
from search.planning import estimates, throughput
from search.planning.job import Work
from search.settings import Training, TrialSettings


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    throughput._notes.cache_clear()


def rate(device: str, family: str) -> tuple[float, int] | None:
    throughput._notes.cache_clear()  # as another process would see it
    return throughput.rate(device, family)


def test_nothing_is_known_of_a_machine_that_has_trained_nothing() -> None:
    assert rate("a", "samplecnn") is None


def test_the_median_of_the_latest_trainings_of_a_family_counts() -> None:
    for number in range(40):
        throughput.note("a", "samplecnn", training=100.0 * (number + 1), evaluation=0.0, seconds=10)
    assert rate("a", "samplecnn") == (305.0, 20)
    assert rate("b", "samplecnn") is None


def test_a_family_that_never_ran_there_is_taken_to_be_as_fast_as_the_others() -> None:
    throughput.note("a", "samplecnn", training=100, evaluation=0, seconds=10)
    assert rate("a", "crnn") == (10.0, 1)
    throughput.note("a", "crnn", training=400, evaluation=0, seconds=10)
    assert rate("a", "crnn") == (40.0, 1)


def test_trainings_in_another_precision_say_nothing_of_this_one() -> None:
    throughput.note("a", "samplecnn", training=100, evaluation=0, seconds=10)
    throughput.note("a", "samplecnn", training=900, evaluation=0, seconds=10, precision="bf16")
    throughput._notes.cache_clear()
    assert rate("a", "samplecnn") == (10.0, 1)
    assert throughput.rates("a", "samplecnn", precision="bf16") == [90.0]
    assert throughput.rates("a", "samplecnn", precision="tf32") == []


def test_a_training_that_took_no_time_and_broken_lines_are_no_notes() -> None:
    throughput.note("a", "samplecnn", training=100, evaluation=0, seconds=0)
    throughput.file().write_text('{"device": "a"}\nnonsense\n[1]\n{"device": "a", "family": "f", "multiply')
    assert rate("a", "samplecnn") is None


def test_an_estimate_follows_what_was_measured_here() -> None:
    trial = TrialSettings("samplecnn_m3_n3_s729", {}, Training(), 0, "demo", "", "rendered", "")
    work = Work(trial, 1, 1, 1, 1, 1, training=7e10, evaluation=0.0)
    guessed = estimates.rough_seconds(work)
    throughput.note(local_device(), "samplecnn", training=7e10, evaluation=0.0, seconds=100.0)
    throughput._notes.cache_clear()
    assert estimates.rough_seconds(work) == pytest.approx(100 + estimates.OVERHEAD_SECONDS)
    assert guessed != estimates.rough_seconds(work)


def test_fewer_products_are_taken_to_be_as_fast_as_float32_until_they_are_timed() -> None:
    def one(precision: str) -> float:
        training = Training(precision=precision)
        trial = TrialSettings("samplecnn_m3_n3_s729", {}, training, 0, "demo", "", "rendered", "")
        return estimates.rough_seconds(Work(trial, 1, 1, 1, 1, 1, training=7e10, evaluation=0.0)) - float(
            estimates.OVERHEAD_SECONDS
        )

    throughput.note(local_device(), "samplecnn", training=7e10, evaluation=0.0, seconds=100.0)
    throughput._notes.cache_clear()
    assert one("winograd") == pytest.approx(100)
    throughput.note(
        local_device(), "samplecnn", training=7e10, evaluation=0.0, seconds=80.0, precision="winograd"
    )
    throughput._notes.cache_clear()
    assert one("winograd") == pytest.approx(80)
    assert one("float32") == pytest.approx(100)


def test_notes_are_lines_of_json() -> None:
    throughput.note("a", "samplecnn", training=100, evaluation=100, seconds=10)
    (line,) = throughput.file().read_text().splitlines()
    assert json.loads(line)["multiply_adds_per_second"] == pytest.approx(12.6)
