"""Scores and their intervals, against scikit-learn and against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from search.metrics import _macro_auc, roc_auc_interval, score

TAGS = tuple(f"tag{i}" for i in range(5))


def example(seed: int, clips: int = 60, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random((clips, len(TAGS))) < 0.3).astype(np.uint8)
    return np.round(random.random((clips, len(TAGS))) * 0.6 + labels * 0.2, decimals), labels


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 2, 9]), clips=st.integers(12, 200))
def test_macro_scores_are_the_means_of_scikit_learns(seed: int, decimals: int, clips: int) -> None:
    probabilities, labels = example(seed, clips, decimals)
    labels[0], labels[1] = 0, 1  # every tag has both classes
    found = score(probabilities, labels, TAGS)
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, probabilities, average="macro"), abs=1e-12)
    assert found.pr_auc == pytest.approx(
        average_precision_score(labels, probabilities, average="macro"), abs=1e-12
    )
    assert found.tags_scored == len(TAGS)


def test_a_tag_of_one_class_is_listed_and_in_no_mean() -> None:
    probabilities, labels = example(1)
    labels[:, 2] = 0
    found = score(probabilities, labels, TAGS)
    assert (found.tags[2].positives, found.tags[2].roc_auc, found.tags[2].average_precision) == (
        0,
        None,
        None,
    )
    others = [0, 1, 3, 4]
    assert found.tags_scored == 4
    assert found.roc_auc == pytest.approx(
        roc_auc_score(labels[:, others], probabilities[:, others]), abs=1e-12
    )


def test_without_any_tag_of_two_classes_there_is_no_score() -> None:
    probabilities, labels = example(2)
    with pytest.raises(
        ValueError, match="none of the 5 tags has both classes in the 60 clips: no AUC exists"
    ):
        score(probabilities, np.ones_like(labels), TAGS)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 2, 9]))
def test_a_resample_scores_as_scikit_learn_does_with_its_counts_as_weights(seed: int, decimals: int) -> None:
    probabilities, labels = example(seed, clips=30, decimals=decimals)
    draws = np.random.default_rng(seed).multinomial(30, np.full(30, 1 / 30), size=3).T.astype(np.float32)
    wanted = []
    for weights in draws.T:
        both = [t for t in range(5) if 0 < (weights * labels[:, t]).sum() < weights.sum()]
        each = [roc_auc_score(labels[:, t], probabilities[:, t], sample_weight=weights) for t in both]
        wanted.append(np.mean(each))
    assert _macro_auc(probabilities, labels, draws) == pytest.approx(wanted, abs=1e-6)


def test_the_interval_holds_the_score_and_narrows_with_more_clips() -> None:
    few, many = example(3, clips=40), example(3, clips=2000)
    widths = []
    for probabilities, labels in (few, many):
        low, high = roc_auc_interval(probabilities, labels)
        assert low < score(probabilities, labels, TAGS).roc_auc < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 4


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        labels = (random.random((80, 1)) < 0.5).astype(np.uint8)
        probabilities = random.normal(size=(80, 1)) + labels  # AUC of N(1,1) over N(0,1): 0.7602
        low, high = roc_auc_interval(probabilities, labels, resamples=300)
        inside += low <= 0.7602 <= high
    assert 180 <= inside <= 199
