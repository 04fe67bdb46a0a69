"""Intervals and verdicts, against a plain loop and against truths that are known."""

import time

import numpy as np
import pytest
from plain_intervals import interval, paired
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from test_search_metrics import TAGS, example

from search.scoring import intervals
from search.scoring.intervals import (
    BETTER,
    TIE,
    WORSE,
    difference,
    draw,
    numbered,
    of_replicates,
    student,
    told_apart,
)
from search.scoring.metrics import score

NORMAL = float(stats.norm.ppf(0.975))
ORACLES = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}


def plain_means(
    labels: np.ndarray, said: np.ndarray, groups: list[str] | None, metric: str, resamples: int
) -> list[float]:
    """Macro means of resamples, by loops, lists and scikit-learn."""
    names = groups or [str(clip) for clip in range(len(labels))]
    known = sorted(set(names), key=names.index if groups is None else None)
    members = [[clip for clip, name in enumerate(names) if name == group] for group in known]
    times = np.random.default_rng(0).multinomial(len(known), [1 / len(known)] * len(known), size=resamples)
    means = []
    for row in times:
        rows = [clip for group, often in enumerate(row) for _ in range(often) for clip in members[group]]
        both = [t for t in range(labels.shape[1]) if 0 < labels[rows, t].sum() < len(rows)]
        means.append(np.mean([ORACLES[metric](labels[rows, t], said[rows, t]) for t in both]))
    return means


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("by_artist", [False, True])
def test_an_interval_is_that_of_a_plain_loop(metric: str, by_artist: bool) -> None:
    said, labels = example(7, clips=40, decimals=1)
    labels[3:, 4] = 0  # a rare tag, which some resamples lack
    groups = [f"artist{clip % 13:02}" for clip in range(40)] if by_artist else None
    found = interval(labels, said, groups, resamples=60, metric=metric)
    n = 13 if by_artist else 40
    outside = stats.norm.cdf(-np.sqrt(n / (n - 1)) * student(NORMAL, n - 1))
    means = plain_means(labels, said, groups, metric, 60)
    both = [t for t in range(5) if 0 < labels[:, t].sum() < 40]
    seen = np.mean([ORACLES[metric](labels[:, t], said[:, t]) for t in both])
    wanted = np.quantile(means, [outside, 1 - outside]) - np.mean(means) + seen
    assert (found.low, found.high) == pytest.approx(tuple(wanted), abs=1e-6)


def test_a_paired_difference_is_that_of_a_plain_loop() -> None:
    one, labels = example(7, clips=40, decimals=1)
    other, _ = example(8, clips=40, decimals=1)
    found = paired(labels, one, other, resamples=60)
    gains = np.subtract(
        plain_means(labels, one, None, "roc_auc", 60), plain_means(labels, other, None, "roc_auc", 60)
    )
    outside = stats.norm.cdf(-np.sqrt(40 / 39) * student(NORMAL, 39))
    seen = score(one, labels, TAGS).roc_auc - score(other, labels, TAGS).roc_auc
    wanted = np.quantile(gains, [outside, 1 - outside]) - np.mean(gains) + seen
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-6)
    assert found.mean == pytest.approx(seen, abs=1e-12)


def test_an_artist_is_drawn_with_all_its_clips_and_a_clip_without_one_by_itself() -> None:
    numbers = numbered(["b", "a", "", "b", ""], 5)
    assert numbers[0] == numbers[3]
    assert len(set(numbers.tolist())) == intervals.count(numbers) == 4
    draws = draw(numbers, resamples=50)
    assert np.array_equal(draws[0], draws[3])
    assert draws[[0, 1, 2, 4]].sum(axis=0).tolist() == [4.0] * 50


def test_clips_of_one_artist_that_resemble_each_other_widen_its_interval() -> None:
    random = np.random.default_rng(1)
    artist = np.repeat(np.arange(30), 10)
    labels = (random.random((30, 1)) < 0.5).astype(np.uint8)[artist]
    said = random.normal(size=(30, 1))[artist] + labels + 0.1 * random.normal(size=(300, 1))
    clips, artists = interval(labels, said), interval(labels, said, [str(name) for name in artist])
    assert artists.high - artists.low > 2 * (clips.high - clips.low)


def test_the_same_clips_give_the_same_interval_every_time() -> None:
    said, labels = example(3)
    assert interval(labels, said) == interval(labels, said)
    assert interval(labels, said) != interval(labels, said, seed=1)


@pytest.mark.parametrize("freedom", [4, 9, 30, 200])
def test_students_quantile_is_right_to_three_parts_in_a_thousand(freedom: int) -> None:
    assert student(NORMAL, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=3e-3)


def test_the_interval_holds_the_score_and_narrows_with_more_clips() -> None:
    few, many = example(3, clips=40), example(3, clips=2000)
    widths = []
    for probabilities, labels in (few, many):
        sure = interval(labels, probabilities)
        assert sure.low < score(probabilities, labels, TAGS).roc_auc < sure.high
        widths.append(sure.high - sure.low)
    assert widths[1] < widths[0] / 4


def test_the_precision_of_rare_tags_on_few_clips_lies_in_its_interval() -> None:
    """Resamples that hold a positive twice score higher: their quantiles alone would leave the value itself out."""
    random = np.random.default_rng(2)
    labels = np.zeros((54, 60), np.uint8)
    labels[random.integers(0, 54, 60), np.arange(60)] = 1
    said = random.random((54, 60))
    seen = score(said, labels, tuple(map(str, range(60)))).pr_auc
    alone = intervals.replicates(labels, said, draw(numbered(None, 54)))["pr_auc"]
    assert np.nanquantile(alone, 0.025) > seen
    assert seen in interval(labels, said, metric="pr_auc")


def test_no_interval_leaves_what_a_score_or_a_difference_can_be() -> None:
    few = np.array([0.1, 0.4, 0.6, 0.9])
    assert of_replicates(few, 5, 0.9).high == 1.0
    assert of_replicates(few, 5, 0.1).low == 0.0
    apart = difference(-0.9, np.array([-1.0, -0.9, -0.2, 0.1]), 5)
    assert apart.low == -1.0
    assert apart.low < apart.high < 1.0


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        labels = (random.random((80, 1)) < 0.5).astype(np.uint8)
        probabilities = random.normal(size=(80, 1)) + labels  # AUC of N(1,1) over N(0,1): 0.7602
        inside += 0.7602 in interval(labels, probabilities, resamples=300)
    assert 180 <= inside <= 199


def two_networks(
    random: np.random.Generator, artists: int, clips: int, gain: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Labels, and what two networks say of them that do better or worse artist by artist; and the artists."""
    of = random.integers(0, artists, clips)
    labels = (random.random((clips, 4)) < 0.3).astype(np.uint8)
    heard = random.normal(size=(clips, 4)) + labels
    one, other = (
        heard + random.normal(size=(clips, 4)) + 0.7 * random.normal(size=(artists, 4))[of] for _ in range(2)
    )
    return labels, one + gain * labels, other, [f"{artist:03}" for artist in of]


@pytest.mark.parametrize(("artists", "clips"), [(12, 72), (40, 160)])
def test_two_networks_that_are_equally_good_are_told_apart_one_time_in_twenty(
    artists: int, clips: int
) -> None:
    alarms = 0
    for seed in range(200):
        labels, one, other, of = two_networks(np.random.default_rng(seed), artists, clips, gain=0.0)
        alarms += paired(labels, one, other, of, resamples=200).verdict != TIE
    # 10 of 200 are expected; one in a thousand fair tests finds fewer than 2 or more than 20.
    assert 2 <= alarms <= 20


def test_a_better_network_is_found_to_be_better_and_the_other_worse() -> None:
    found = []
    for seed in range(10):
        labels, one, other, of = two_networks(np.random.default_rng(seed), 40, 200, gain=1.0)
        found.append((paired(labels, one, other, of).verdict, paired(labels, other, one, of).verdict))
    assert found == [(BETTER, WORSE)] * 10


def test_a_network_cannot_be_told_apart_from_itself() -> None:
    said, labels = example(3)
    found = paired(labels, said, said)
    assert (found.low, found.mean, found.high, found.verdict) == (0, 0, 0, "cannot be told apart")


def board(
    random: np.random.Generator, rows: int, gain: float = 0.0, resamples: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """AUCs of networks on the same clips and their replicates; the first is better by `gain` deviations."""
    clips = random.normal(size=(rows, 60)) + random.normal(size=60)
    clips[0] += gain
    draws = random.multinomial(60, np.full(60, 1 / 60), size=resamples) / 60
    return clips.mean(axis=1), clips @ draws.T


def all_pairs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(rows, 1)


def test_a_leaderboard_of_equals_raises_one_false_alarm_in_twenty_leaderboards() -> None:
    """Without a correction it is every second one: 45 comparisons at 5 % each."""
    corrected = plain = 0
    left, right = all_pairs(10)
    for seed in range(200):
        values, replicates = board(np.random.default_rng(seed), 10)
        corrected += bool(told_apart(values, replicates, left, right, 60).any())
        low, high = np.quantile(replicates[left] - replicates[right], [0.025, 0.975], axis=1)
        plain += bool(((low > 0) | (high < 0)).any())
    assert corrected <= 20  # 10 are expected, and more than 20 in one of a thousand fair tests
    assert plain > 80


def test_the_one_better_network_is_told_apart_from_all_others_and_they_are_not() -> None:
    values, replicates = board(np.random.default_rng(0), 20, gain=2.0)
    left, right = all_pairs(20)
    apart = told_apart(values, replicates, left, right, 60)
    assert apart[left == 0].all()
    assert not apart[left != 0].any()


def test_what_never_swings_is_told_apart_where_it_differs_at_all() -> None:
    values = np.array([0.9, 0.5, 0.5])
    replicates = np.repeat(values[:, None], 100, axis=1)
    assert told_apart(values, replicates, *all_pairs(3), groups=60).tolist() == [True, True, False]


def test_what_is_told_apart_already_makes_no_other_pair_harder_to_tell() -> None:
    swings = np.random.default_rng(3).normal(size=(2, 1000))
    replicates = np.vstack([swings, np.zeros(1000)])
    first, second = np.array([0, 1]), np.array([2, 2])  # two rows, each against one that never swings
    for value, wanted in ((10.0, [True, True]), (0.1, [False, False])):
        values = np.array([value, 2.1, 0.0])  # 2.1 deviations: enough for one question of two, not for both
        assert told_apart(values, replicates, first, second, 10**6).tolist() == wanted


@pytest.mark.slow
def test_a_thousand_resamples_of_mtats_test_split_take_less_than_ten_seconds() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((4332, 50)) < np.geomspace(0.19, 0.018, 50)).astype(np.uint8)
    said = random.random((4332, 50)) + 0.3 * labels
    for groups in (None, [f"artist{clip % 230}" for clip in range(4332)]):
        started = time.process_time()  # of this process alone: others may want the cores, too
        interval(labels, said, groups)
        assert time.process_time() - started < 10
