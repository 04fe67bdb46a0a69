"""What a search will take: machines that are not here, times that are guessed and then known, room on the disk."""

import json
import os
from dataclasses import replace

import pytest
from planned_jobs import EIGHT, a_job

from search.planning import estimates, throughput
from search.planning.estimates import Outlook
from search.planning.hardware import KINDS, Machines, kind, machines
from search.settings import Cluster


@pytest.fixture(autouse=True)
def fresh_notes() -> None:
    throughput._notes.cache_clear()


def test_a_gpu_that_was_timed_is_guessed_by_its_own_times_and_others_by_their_memory() -> None:
    def guess(device: str) -> float:
        return estimates._guess(Machines(device, 1, None, None, None), "float32")

    h100, h200, a100, unknown = map(guess, ("NVIDIA H100", "NVIDIA H200", "NVIDIA A100", "Abacus"))
    assert (h100, h200) == pytest.approx((3.9e12, 4.0e12))
    assert a100 == unknown == pytest.approx(3.9e12 * 1555 / 3350)


def test_a_gpu_is_known_by_the_words_of_its_name() -> None:
    assert kind("NVIDIA H200") == KINDS["H200"]
    assert kind("NVIDIA A100-SXM4-80GB") == KINDS["A100 80GB"]
    assert kind("NVIDIA A100-SXM4-40GB") == KINDS["A100"]
    assert kind("NVIDIA H100 PCIe") == KINDS["H100 PCIE"]
    assert kind("Abacus") is None


@pytest.mark.usefixtures("fresh_home")
def test_more_gpus_shorten_the_wall_time_and_not_the_gpu_hours() -> None:
    job = a_job("space=table2", "budget=paper")
    one = estimates.outlook(job, job.grid(), 42, replace(EIGHT, gpus=1))
    eight = estimates.outlook(job, job.grid(), 42, EIGHT)
    assert one.device_seconds == eight.device_seconds == pytest.approx(one.wall_seconds)
    assert eight.wall_seconds == pytest.approx(one.wall_seconds / 8)
    many = estimates.outlook(job, job.grid(), 42, replace(EIGHT, gpus=1000))
    assert many.wall_seconds == max(estimates.seconds(work, EIGHT) for work in job.grid())


@pytest.mark.usefixtures("fresh_home")
def test_an_estimate_is_rough_at_first_and_surer_with_every_training() -> None:
    job = a_job("space=smoke")
    work = next(each for each in job.grid() if each.family == "samplecnn")
    assert estimates.factor(work, EIGHT) == estimates.GUESSED

    def after(family: str, seconds: float, size: int) -> float:
        throughput.note(EIGHT.device, family, work.training, 0.0, seconds, size)
        throughput._notes.cache_clear()
        return estimates.factor(work, EIGHT)

    assert after("crnn", 10.0, 1) == estimates.TIMED_OTHERS
    assert after("samplecnn", 10.0, 100 * work.multiply_adds) == estimates.TIMED_OTHERS  # of another size
    assert after("samplecnn", 10.0, work.multiply_adds) == estimates.TIMED_ONCE
    assert after("samplecnn", 10.0, work.multiply_adds) == estimates.TIMED
    assert after("samplecnn", 20.0, work.multiply_adds) == pytest.approx(2.0)
    expected = work.training + throughput.EVALUATION_SHARE * work.evaluation
    assert estimates.seconds(work, EIGHT) == pytest.approx(
        estimates.OVERHEAD_SECONDS + 10.0 * expected / work.training
    )


@pytest.mark.usefixtures("fresh_home")
def test_a_cycle_is_planned_to_its_end() -> None:
    job = a_job("space=table2", "budget=fast", "dataset=mtat", "budget.epochs_per_stage=100")
    work = job.grid()[0]
    assert work.epochs == 100
    assert estimates.factor(work, EIGHT) == estimates.GUESSED  # its end is known


@pytest.mark.usefixtures("fresh_home")
def test_fewer_digits_are_planned_as_quicker() -> None:
    def seconds(precision: str) -> float:
        job = a_job(
            "space=table2", "budget=paper", "dataset=mtat", "cluster.gpus=1", f"budget.precision={precision}"
        )
        work = next(each for each in job.grid() if each.trial.network == "samplecnn_m3_n9_s3")
        return estimates.seconds(work, EIGHT)

    assert seconds("bf16") < 0.3 * seconds("float32")
    assert seconds("bf16") < seconds("tf32") < seconds("float32")


@pytest.mark.usefixtures("fresh_home")
def test_small_networks_wait_for_the_start_of_their_kernels() -> None:
    job = a_job("space=table2", "budget=paper", "dataset=mtat")
    work = next(each for each in job.grid() if each.trial.network == "samplecnn_m3_n3_s729")
    updates = 40 * (work.segments_per_epoch // 23)
    assert work.updates == updates
    assert estimates.seconds(work, EIGHT) >= updates * estimates.GPU_STEP_SECONDS


@pytest.mark.usefixtures("fresh_home")
def test_the_disk_that_a_search_takes_grows_with_its_networks_and_trials() -> None:
    job = a_job("space=table2", "seeds=2")
    works = job.grid()
    assert estimates.outlook(job, works, 84, EIGHT).disk_bytes > 84 * 2 * 4 * min(w.parameters for w in works)
    assert (
        estimates.outlook(job, works[:42], 42, EIGHT).disk_bytes
        < estimates.outlook(job, works, 84, EIGHT).disk_bytes
    )
    assert estimates.outlook(job, [], 0, EIGHT).disk_bytes == 0


def test_the_outlook_of_nothing_is_nothing() -> None:
    nothing = Outlook(0, 0, 0.0, 0.0, 0.0, 0.0, 1, 0)
    assert nothing.least_wall_seconds == nothing.most_wall_seconds == 0.0


def test_this_machine_is_planned_with_what_it_has() -> None:
    here = machines(Cluster())
    assert here.assumed == ""
    assert here.memory_bytes
    assert here.cpus == len(os.sched_getaffinity(0))
    assert json.dumps(here.gpus)
