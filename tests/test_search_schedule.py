"""The five restarted stages of the paper, epoch by epoch."""

import math

import pytest

from search.settings import Training
from search.trials.schedule import WARM_SHARE, Progress, learning_rate, told_rate

PAPER = Training()


def after(losses: list[float], training: Training = PAPER, start: Progress | None = None) -> Progress:
    progress = start or Progress()
    for loss in losses:
        progress = progress.after_epoch(loss, updates=10, training=training)
    return progress


def test_a_stage_ends_on_the_fourth_epoch_in_a_row_without_a_new_best() -> None:
    assert after([1.0, 2.0, 2.0, 2.0]).stage == 0
    assert after([1.0, 2.0, 2.0, 2.0, 2.0]).stage == 1


def test_a_new_best_starts_the_count_again() -> None:
    assert after([1.0, 2.0, 2.0, 2.0, 0.9, 2.0, 2.0, 2.0]).stage == 0


def test_an_equal_loss_is_no_new_best() -> None:
    assert after([1.0] * 5).stage == 1


def test_a_stage_forgets_the_best_loss_of_the_one_before() -> None:
    second = after([1.0, 2.0, 2.0, 2.0, 2.0])
    assert math.isinf(second.best_loss)
    assert after([1.5], start=second).best_epoch == 6


def test_the_next_stage_starts_from_the_best_epoch_with_fresh_counts() -> None:
    second = after([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    assert second.starts_stage
    assert (second.best_epoch, second.updates, second.without_best, second.epoch) == (2, 0, 0, 6)


def test_updates_count_inside_a_stage() -> None:
    assert after([1.0, 0.9]).updates == 20


def test_training_ends_with_its_last_stage_and_the_best_of_that_stage_counts() -> None:
    standing_still = [1.0, 2.0, 2.0, 2.0, 2.0]
    assert not after(standing_still * 4).finished
    end = after(standing_still * 5)
    assert end.finished
    assert end.best_epoch == 21


def test_a_stage_may_be_cut_by_its_length() -> None:
    short = Training(learning_rates=(0.1, 0.01), epochs_per_stage=2)
    assert after([4.0, 3.0], short).stage == 1
    assert after([4.0, 3.0, 2.0, 1.0], short).finished


def test_an_epoch_of_a_large_network_takes_fewer_segments_but_two_batches_at_least() -> None:
    capped = Training(multiply_adds_per_epoch=1000.0, batch_size=4)
    assert capped.segments_per_epoch(segments=500, multiply_adds=10) == 100
    assert capped.segments_per_epoch(segments=50, multiply_adds=10) == 50
    assert capped.segments_per_epoch(segments=500, multiply_adds=400) == 8
    assert PAPER.segments_per_epoch(segments=152_440, multiply_adds=10**9) == 152_440


CYCLE = Training(learning_rates=(0.1,), epochs_per_stage=10, patience=0, one_cycle=True)


def test_the_paper_s_rate_falls_slowly_inside_a_stage() -> None:
    assert learning_rate(PAPER, 1, 0, 100) == 0.002
    assert learning_rate(PAPER, 1, 1000, 100) == 0.002 / 1.001


def test_the_rate_of_a_cycle_climbs_to_its_top_and_falls_to_nothing() -> None:
    rates = [learning_rate(CYCLE, 0, updates, 50) for updates in range(500)]
    top = rates.index(max(rates))
    assert top == pytest.approx(WARM_SHARE * 500, abs=1)
    assert rates[top] == pytest.approx(0.1, rel=0.01)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(0.1 / (2 * WARM_SHARE * 500))
    assert 0 < rates[-1] < 1e-5


def test_an_epoch_tells_the_rate_of_its_stage_or_of_the_last_update_of_a_cycle() -> None:
    assert told_rate(PAPER, 1, 1000, 100) == 0.002
    told = [told_rate(CYCLE, 0, 50 * epochs, 50) for epochs in range(1, 11)]
    assert told == [learning_rate(CYCLE, 0, 50 * epochs - 1, 50) for epochs in range(1, 11)]
    assert max(told) == told[round(WARM_SHARE * 10) - 1]
    assert told[-1] < 1e-5


def test_a_cycle_is_not_left_before_its_end() -> None:
    progress = after([1.0] + [2.0] * 8, CYCLE)
    assert (progress.stage_epoch, progress.finished) == (9, False)
    ended = after([2.0], CYCLE, progress)
    assert (ended.finished, ended.best_epoch) == (True, 1)
