"""Which of two networks is better: in words, on one protocol, artists before clips."""

from dataclasses import replace

import numpy as np
import pytest
from clip_scores import a_network
from plain_intervals import paired

from search.scoring.comparing import TagDifference, compare_scores, compare_seeds, tag_differences
from search.scoring.intervals import TIE
from search.scoring.score_table import ClipScores, SplitScores


def test_a_better_network_is_better_and_seen_from_the_other_side_worse() -> None:
    good, bad = a_network(ear=3.0), a_network(ear=0.0, seed=2)
    assert compare_scores(good, bad).verdict == "better"
    assert compare_scores(bad, good).verdict == "worse"
    assert compare_scores(good, bad).difference.mean > 0.2


def test_two_of_a_kind_cannot_be_told_apart() -> None:
    assert compare_scores(a_network(seed=1), a_network(seed=2)).verdict == "cannot be told apart"


def test_artists_decide_where_they_are_known_and_clips_where_not() -> None:
    one, other = a_network(seed=1), a_network(seed=2)
    found = compare_scores(one, other)
    assert (found.decided_by, found.difference) == ("artist", found.by_artist)
    clips = one.splits["test"]
    said = clips.labels, clips.probabilities, other.splits["test"].probabilities
    assert found.by_artist == paired(*said, clips.artists)
    assert found.by_clip == paired(*said)
    assert found.metrics["pr_auc"].by_clip == paired(*said, metric="pr_auc")
    unknown = compare_scores(a_network(seed=1, artists=0), a_network(seed=2, artists=0))
    assert (unknown.decided_by, unknown.by_artist, unknown.difference) == ("clip", None, unknown.by_clip)


def test_fewer_than_five_artists_decide_nothing() -> None:
    assert compare_scores(a_network(artists=4), a_network(seed=2, artists=4)).decided_by == "clip"
    assert compare_scores(a_network(artists=5), a_network(seed=2, artists=5)).decided_by == "artist"


def test_seeds_are_compared_by_their_mean() -> None:
    one, other = [a_network(seed=seed) for seed in (1, 2)], [a_network(seed=seed) for seed in (3, 4)]
    found = compare_seeds(one, other)
    each = [compare_scores(a, b).difference.mean for a in one for b in other]
    assert found.difference.mean == pytest.approx(np.mean(each))
    alone = compare_scores(one[0], other[0]).difference
    assert found.difference.high - found.difference.low < alone.high - alone.low


def test_two_protocols_are_refused_with_what_differs_and_both_values() -> None:
    found = compare_scores(a_network(), a_network(fingerprint="beef", sample_rate_hz=16000))
    assert found.refusal == (
        "the two are of different protocols: fingerprint f00d and beef, sample_rate_hz 22050 and 16000"
    )


def test_networks_of_different_input_are_compared() -> None:
    assert compare_scores(a_network(), a_network(seed=2, segments_per_clip=39)).refusal is None


def test_the_same_protocol_over_other_clips_is_refused() -> None:
    other = a_network(seed=2)
    test = replace(other.splits["test"], clip_ids=tuple(reversed(other.splits["test"].clip_ids)))
    found = compare_scores(a_network(), replace(other, splits={**other.splits, "test": test}))
    assert found.refusal == "the test clips or their labels are not the same, though their protocols agree"


def a_pair(
    rng: np.random.Generator,
    shares: np.ndarray,
    clips: int,
    ears: tuple[float, float] = (1.0, 1.0),
    artists: int = 0,
) -> list[TagDifference]:
    """Two networks of noise of their own; `ears`: by how many deviations each hears a tag."""
    names = tuple(f"a{number % artists}" if artists else "" for number in range(clips))
    labels = (rng.random((clips, len(shares))) < shares).astype(np.uint8)
    if artists:  # who has a tag at all has it on every other clip
        held = rng.random((artists, len(shares))) < shares
        labels = held[np.arange(clips) % artists] & (rng.random(labels.shape) < 0.5)

    def a_side(ear: float) -> ClipScores:
        heard = 1 / (1 + np.exp(-(ear * labels + rng.normal(size=labels.shape))))
        split = SplitScores(tuple(map(str, range(clips))), names, labels.astype(np.uint8), heard, {})
        return ClipScores(tuple(f"t{tag}" for tag in range(len(shares))), {}, {"test": split}, {"test": 0.0})

    first, second = map(a_side, ears)
    return tag_differences([first], [second])


@pytest.mark.parametrize(("clips", "artists"), [(54, 0), (300, 20)])
def test_rare_tags_of_equal_networks_raise_no_more_false_alarms_than_they_say(
    clips: int, artists: int
) -> None:
    rng, shares = np.random.default_rng(1), np.geomspace(0.3, 0.02, 40)
    alarms = [
        any(each.verdict != TIE for each in a_pair(rng, shares, clips, artists=artists)) for _ in range(30)
    ]
    assert sum(alarms) <= 4  # 5 % of 30 are 1.5; more than 4 come in one of fifty such tests


def test_a_tag_that_few_clips_have_or_lack_is_not_judged_and_the_others_are() -> None:
    shares = np.array([0.003, 0.5, 0.997])
    right_and_wrong = (20.0, -20.0)  # of every clip
    found = {each.tag: each for each in a_pair(np.random.default_rng(0), shares, 1_000, right_and_wrong)}
    assert {tag: each.verdict for tag, each in found.items()} == {"t0": TIE, "t1": "better", "t2": TIE}
    assert 0 < found["t0"].positives < 5
    assert 0 < 1_000 - found["t2"].positives < 5
