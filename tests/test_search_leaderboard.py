"""The leaderboard: ranked honestly, ties shown as ties, never across protocols."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clip_scores import a_network, leave_trial

import zoo
from search import files
from search.errors import SearchError
from search.results import leaderboard
from search.scoring import resamples
from search.settings import Training, TrialSettings


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
        SearchError,
        match="these trials are of several protocols; their numbers can't be ranked together: "
        "clips 4332 and 4000, tag_hash t and u",
    ):
        leaderboard.rows([a_trial(), a_trial("samplecnn_m3_n5_s243", clips=4000, tag_hash="u")], None)


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


def test_each_row_gives_the_signature_to_type_of_its_best_seed() -> None:
    trials = [a_trial(seed=0, valid=0.6), a_trial(seed=1, valid=0.7)]
    board, best = leaderboard.rows(trials, None), trials[1][1].signature()
    assert leaderboard.cells(board)[0][leaderboard.COLUMNS.index("trial")] == best
    assert f" | {best} |" in leaderboard.as_markdown(board, trials[0][0]["protocol"], "paper", "go")


NETWORKS = ("samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "samplecnn_m2_n6_s256", "melcnn_m3_n4_s729_w729")


def a_scored_trial(network: str, ear: float, seed: int = 0, **clips: Any) -> leaderboard.Ended:
    """A trial whose folder holds the scores of its clips, as one that has really been trained leaves it."""
    return leave_trial(network, a_network(ear, NETWORKS.index(network) * 100 + seed, **clips), seed)


@pytest.mark.usefixtures("fresh_home")
def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    trials = [a_scored_trial(name, ear) for name, ear in zip(NETWORKS, (4.0, 4.0, 0.3, 0.3), strict=True)]
    board = leaderboard.rows(trials, None)
    assert [row.rank for row in board] == [1, 1, 3, 3]
    assert {row.network for row in board[:2]} == set(NETWORKS[:2])
    assert [cells[0] for cells in leaderboard.cells(board)] == ["1", "1", "3", "3"]
    assert leaderboard.rows(trials[::-1], None) == board


@pytest.mark.usefixtures("fresh_home")
def test_resamples_that_an_earlier_release_did_not_keep_are_made_from_the_scores() -> None:
    trials = [a_scored_trial(name, 4.0) for name in NETWORKS[:2]]
    made = files.trial_folder(trials[0][1].signature()) / files.RESAMPLES
    assert not made.exists()
    leaderboard.rows(trials, None)
    assert made.exists()


@pytest.mark.usefixtures("fresh_home")
def test_a_row_without_the_scores_of_its_clips_has_no_rank_and_costs_the_others_none() -> None:
    trials = [a_scored_trial(name, ear) for name, ear in zip(NETWORKS, (4.0, 4.0, 0.3, 0.3), strict=True)]
    whole = leaderboard.rows(trials, None)
    for name in (files.SCORES, files.RESAMPLES):
        (files.trial_folder(whole[1].signature) / name).unlink(missing_ok=True)
    board = leaderboard.rows(trials, None)
    assert [row.network for row in board] == [row.network for row in whole]
    assert [row.rank for row in board] == [1, 0, 2, 2]
    assert [cells[0] for cells in leaderboard.cells(board)] == ["1", "", "2", "2"]


@pytest.mark.usefixtures("fresh_home")
def test_a_row_that_was_scored_on_other_resamples_has_no_rank() -> None:
    trials = [a_scored_trial(name, 4.0) for name in NETWORKS[:3]]
    leaderboard.rows(trials, None)
    file = files.trial_folder(trials[1][1].signature()) / files.RESAMPLES
    kept = resamples.read(file)
    assert kept is not None
    resamples.write(file, replace(kept, draws=dict.fromkeys(kept.draws, "another release's")))
    ranks = {row.network: row.rank for row in leaderboard.rows(trials, None)}
    assert ranks == {NETWORKS[0]: 1, NETWORKS[1]: 0, NETWORKS[2]: 1}


def test_trials_without_any_scores_of_clips_stand_in_their_order() -> None:
    board = leaderboard.rows([a_trial(valid=0.6), a_trial(NETWORKS[1], valid=0.6001)], None)
    assert [(row.network, row.rank) for row in board] == [(NETWORKS[1], 0), (NETWORKS[0], 0)]


@pytest.mark.usefixtures("fresh_home")
def test_a_row_has_intervals_by_clip_and_by_artist_its_subsets_and_its_spread() -> None:
    trials = [a_scored_trial(NETWORKS[0], 2.0, seed) for seed in (0, 1)]
    (row,) = leaderboard.rows(trials, None)
    results = [result for result, _ in trials]
    low = [result["test"]["roc_auc_low_by_artist"] for result in results]
    assert row.by_artist is not None
    assert row.by_artist[0] == pytest.approx(sum(low) / 2)
    aucs = [result["test"]["roc_auc"] for result in results]
    assert row.spread == pytest.approx(abs(aucs[0] - aucs[1]) / 2**0.5)
    assert set(row.subsets) == {"unseen_artist"}
    titles, body = leaderboard.shown([row])
    told = dict(zip(titles, body, strict=True))
    assert (told["seeds"], told["spread"]) == ("2", f"{row.spread:.4f}")
    assert told["unseen artist"] == f"{row.subsets['unseen_artist']:.4f}"
    assert "by artist" in told
    assert "twin-free" not in told, "a column that no row fills is not shown"
    assert "paper" not in told


def test_the_published_number_says_whether_it_lies_within_our_interval() -> None:
    """0.8655 is the paper's AUC of this network."""
    for test, word in ((0.8600, "within"), (0.9000, "below"), (0.7000, "above")):
        (row,) = leaderboard.rows([a_trial(test=test)], "table2")
        assert leaderboard.cells([row])[0][leaderboard.COLUMNS.index("paper")] == f"0.8655 {word}"


def test_a_part_of_mtat_or_another_convention_does_not_compare_with_the_paper() -> None:
    for changed in ({"clips": 54}, {"convention": "all"}, {"dataset": "demo"}):
        (row,) = leaderboard.rows([a_trial(**changed)], "table2")
        assert leaderboard.cells([row])[0][leaderboard.COLUMNS.index("paper")] == "0.8655"


def test_msd_stands_beside_its_own_rows_of_the_paper() -> None:
    trial = a_trial("samplecnn_m3_n9_s3", dataset="msd", clips=28_435, test=0.88)
    (row,) = leaderboard.rows([trial], "table2")
    assert (row.paper_auc, row.paper_lies) == (0.8812, "within")
    (row,) = leaderboard.rows([a_trial(dataset="msd")], "table2")
    assert (row.paper_auc, row.paper_lies) == (None, "")


@pytest.mark.usefixtures("fresh_home")
def test_resamples_that_can_not_be_kept_are_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [a_scored_trial(name, 4.0) for name in NETWORKS[:2]]

    def denied(path: Path, resampled: resamples.Resampled) -> None:
        raise PermissionError(13, "denied", str(path))

    monkeypatch.setattr(resamples, "write", denied)
    assert [row.rank for row in leaderboard.rows(trials, None)] == [1, 1]
