"""The leaderboard: ranked honestly, never across protocols."""

from dataclasses import replace
from typing import Any

import pytest

import zoo
from search import leaderboard
from search.settings import SearchError, Training, TrialSettings


def a_trial(
    network: str = "samplecnn_m3_n4_s729",
    seed: int = 0,
    valid: float = 0.6,
    test: float = 0.7,
    **protocol: Any,
) -> leaderboard.Ended:
    settings = TrialSettings(network, zoo.entry(network).options, Training(), seed, "mtat", "f", "paper", "t")
    scores = {"roc_auc": test, "pr_auc": 0.3, "roc_auc_low": test - 0.01, "roc_auc_high": test + 0.01}
    told = {
        "dataset": "mtat",
        "fingerprint": "f",
        "convention": "paper",
        "clips": 4332,
        "segments_per_clip": 10,
    }
    told |= {"sample_rate_hz": 22050, "tag_hash": "t", "tags_scored": 50, **protocol}
    result = {"signature": settings.signature(), "network": network, "epochs": 3, "test": scores}
    return {**result, "valid": {"roc_auc": valid}, "protocol": told}, settings


def test_rows_are_ranked_by_validation_and_not_by_test() -> None:
    trials = [a_trial(valid=0.6, test=0.9), a_trial("samplecnn_m3_n5_s243", valid=0.7, test=0.8)]
    assert [row.network for row in leaderboard.rows(trials, "table2")] == [
        "samplecnn_m3_n5_s243",
        "samplecnn_m3_n4_s729",
    ]


def test_the_papers_number_of_that_table_stands_beside() -> None:
    (row,) = leaderboard.rows([a_trial()], "table2")
    assert row.paper_auc == 0.8655
    (row,) = leaderboard.rows([a_trial()], None)
    assert row.paper_auc is None


def test_seeds_of_one_network_are_one_row_with_their_mean() -> None:
    trials = [a_trial(seed=0, test=0.7, valid=0.6), a_trial(seed=1, test=0.8, valid=0.7)]
    (row,) = leaderboard.rows(trials, "table2")
    assert (row.seeds, row.test_roc_auc, row.interval) == (
        2,
        pytest.approx(0.75),
        pytest.approx((0.74, 0.76)),
    )


def test_a_row_is_named_by_what_sets_it_apart() -> None:
    result, settings = a_trial()
    faster = replace(settings, training=Training(learning_rates=(0.05, 0.01)))
    wider = replace(settings, options={**settings.options, "dropout": 0.1 + 0.2})
    names = [row.name for row in leaderboard.rows([(result, faster), (result, wider)], None)]
    assert names == [
        "samplecnn_m3_n4_s729 learning_rates=0.05",
        "samplecnn_m3_n4_s729 dropout=0.3 learning_rates=0.01",
    ]


def test_two_protocols_are_never_ranked_together() -> None:
    with pytest.raises(
        SearchError, match="these trials are of several protocols; their numbers can't be ranked together"
    ):
        leaderboard.rows([a_trial(), a_trial("samplecnn_m3_n5_s243", clips=4000)], None)


def test_networks_of_different_input_are_of_one_protocol() -> None:
    trials = [a_trial(), a_trial("samplecnn_m2_n6_s256", segments_per_clip=39)]
    assert len(leaderboard.rows(trials, None)) == 2


def test_the_file_tells_command_protocol_and_budget() -> None:
    trials = [a_trial()]
    text = leaderboard.as_markdown(
        leaderboard.rows(trials, "table2"), trials[0][0]["protocol"], "paper", "go"
    )
    for word in (
        "Command: `go`",
        "convention paper, 4332 test clips",
        "Budget: paper.",
        "| 0.7000 | 0.690-0.710 |",
    ):
        assert word in text
