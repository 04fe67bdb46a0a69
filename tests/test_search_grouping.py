"""Which trials go together in one process, and how many."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hands import GB, ONE, a_job

from search.errors import ConfigError
from search.planning.capacity import room_of
from search.planning.grouping import MOST_BY_ITSELF, kind, most_together, together_bytes
from search.planning.job import PROCESS_BYTES, Work
from search.planning.packing import CONTEXT_BYTES, Packer, Seen
from search.settings import Cluster


@pytest.fixture
def one(fresh_home: Path, tmp_path: Path) -> str:
    """The word for a space of one network."""
    space = tmp_path / "one.py"
    space.write_text(ONE)
    return f"space={space}"


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
    assert together_bytes([work] * 5) == pytest.approx(PROCESS_BYTES + 5 * GB, rel=1e-6)
    assert most_together(16, work, CPU, Packer(0.0, 0.0), left=lambda: 100) == 7  # of 8 GB
    seen = [Seen(work.family, 2 * GB + CONTEXT_BYTES, 2 * GB, 10 * GB)]  # as predicted
    assert most_together(16, work, GPU, Packer(None, 1.0, seen), left=lambda: 100) == 8  # with a margin
    assert most_together(16, work, GPU, Packer(0.5, 1.0, seen), left=lambda: 100) == 3
    assert (
        most_together(16, replace(work, training_bytes=GB), GPU, Packer(None, 1.0, seen), left=lambda: 100)
        == 1
    )
