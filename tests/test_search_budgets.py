"""Hours as limits: plans that are clearly larger, and searches that reach them."""

import pytest

from search import budgets
from search.budgets import Meter
from search.estimates import Outlook
from search.hardware import Machines
from search.settings import ConfigError, Limits

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
    budgets.check(Limits(gpu_hours=10), outlook(40, factor=4), EIGHT)
    budgets.check(Limits(), outlook(40, factor=4), EIGHT)
    with pytest.raises(ConfigError) as refused:
        budgets.check(Limits(gpu_hours=10), outlook(80, factor=4), EIGHT)
    assert str(refused.value) == (
        "budget.gpu_hours=10: the plan takes roughly 80 GPU-hours and very likely 20 or more, 2 times as much; "
        "raise it, or lower seeds, trials, budget or the space"
    )
    with pytest.raises(ConfigError, match=r"budget\.gpu_hours=10: the plan takes roughly 80"):
        budgets.check(Limits(gpu_hours=10), outlook(80, factor=2), EIGHT)  # the surer, the closer


def test_more_gpus_help_against_the_clock_only() -> None:
    budgets.check(Limits(wall_hours=1), outlook(80, factor=4, gpus=32), EIGHT)
    with pytest.raises(ConfigError, match=r"budget\.wall_hours=1: .* 10 hours by the clock .*, or add GPUs$"):
        budgets.check(Limits(wall_hours=1), outlook(80, factor=4, gpus=8), EIGHT)


def test_what_earlier_commands_spent_counts() -> None:
    budgets.check(Limits(gpu_hours=10), outlook(20, factor=4), EIGHT, spent_seconds=4 * HOUR)
    with pytest.raises(ConfigError, match="roughly 26 GPU-hours and very likely 11 or more"):
        budgets.check(Limits(gpu_hours=10), outlook(20, factor=4), EIGHT, spent_seconds=6 * HOUR)
    budgets.check(Limits(gpu_hours=10), Outlook(0, 0, 0, 0, 0, 0, 1, 0), EIGHT, spent_seconds=60 * HOUR)


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
