"""Scores against scikit-learn, on random and on degenerate cases."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_music import table, tree
from sklearn.metrics import average_precision_score, roc_auc_score

from datasets.build import build
from search.run import main
from search.scoring.metrics import score, weighted

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


@pytest.mark.parametrize(
    ("what", "probabilities", "labels"),
    [
        ("all scores are the same", [0.5] * 6, [0, 1, 0, 0, 1, 0]),
        ("one positive, on top", [0.1, 0.2, 0.9, 0.3], [0, 0, 1, 0]),
        ("one positive, at the bottom", [0.4, 0.2, 0.1, 0.3], [0, 0, 1, 0]),
        ("one positive among its equals", [0.4, 0.4, 0.4, 0.1], [0, 1, 0, 0]),
        ("one negative among its equals", [0.4, 0.4, 0.4, 0.1], [1, 0, 1, 1]),
        ("two scores only", [0.0, 1.0, 1.0, 0.0, 1.0], [0, 1, 0, 1, 1]),
        ("two clips", [0.3, 0.3], [1, 0]),
        ("perfectly ranked", [0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]),
        ("ranked the wrong way round", [0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]),
        ("scores next to each other in float64", [0.5, np.nextafter(0.5, 1), 0.5, 0.4], [0, 1, 1, 0]),
    ],
)
def test_degenerate_tags_score_as_scikit_learn_has_them(
    what: str, probabilities: list[float], labels: list[int]
) -> None:
    said, carried = np.array(probabilities)[:, None], np.array(labels, np.uint8)[:, None]
    (tag,) = score(said, carried, ("tag",)).tags
    assert tag.roc_auc == pytest.approx(roc_auc_score(carried, said), abs=1e-12), what
    assert tag.average_precision == pytest.approx(average_precision_score(carried, said), abs=1e-12), what
    assert tag.positives == sum(labels)


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


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 2, 9]))
def test_a_resample_scores_as_scikit_learn_does_with_its_counts_as_weights(seed: int, decimals: int) -> None:
    probabilities, labels = example(seed, clips=30, decimals=decimals)
    draws = np.random.default_rng(seed).multinomial(30, np.full(30, 1 / 30), size=3).T
    for tag in range(len(TAGS)):
        for kind, allowed in ((np.float64, 1e-12), (np.float32, 1e-6)):
            said, carried = probabilities[:, tag], labels[:, tag]
            aucs, precisions = weighted(said, carried, draws.astype(kind))
            for at, weights in enumerate(draws.T):
                if not 0 < (weights * carried).sum() < weights.sum():
                    assert np.isnan(aucs[at])
                    assert np.isnan(precisions[at])
                    continue
                wanted = roc_auc_score(carried, said, sample_weight=weights)
                assert aucs[at] == pytest.approx(wanted, abs=allowed)
                wanted = average_precision_score(carried, said, sample_weight=weights)
                assert precisions[at] == pytest.approx(wanted, abs=allowed)


def test_a_search_of_clips_that_cannot_be_scored_is_refused_in_a_line(
    bare_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "a.wav,rock,train,Ann", "b.wav,rock,valid,Bob", "sub/c.wav,,test,Cid"
    source = table(tree(tmp_path / "music", seconds=1.0), *rows).parent
    build("folder", source, workers=1, words={"called": "mine"})
    capsys.readouterr()
    assert main(["dataset=mine", "space=smoke"]) == 2
    assert capsys.readouterr().err == (
        "none of the 1 tags has both classes in the 1 valid clips of mine: no AUC exists\n"
    )
    assert not (bare_home / "mlflow.db").exists()
