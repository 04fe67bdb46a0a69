"""The scores of every clip: kept in full, and all numbers made from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_scores import TAGS, a_network
from plain_intervals import interval

from search.errors import SearchError
from search.scoring import resamples, score_table, scores
from search.scoring.metrics import score


def test_a_table_gives_back_every_bit(tmp_path: Path) -> None:
    said = a_network()
    score_table.write(tmp_path / "scores.parquet", said)
    back = score_table.read(tmp_path / "scores.parquet")
    assert (back.tags, back.protocol, back.losses) == (said.tags, said.protocol, said.losses)
    assert list(back.splits) == ["valid", "test"]
    for name, split in said.splits.items():
        kept = back.splits[name]
        assert (kept.clip_ids, kept.artists) == (split.clip_ids, split.artists)
        assert np.array_equal(kept.probabilities, split.probabilities)
        assert np.array_equal(kept.labels, split.labels)
        assert kept.labels.dtype == np.uint8
        assert {name: mask.tolist() for name, mask in kept.subsets.items()} == {
            name: mask.tolist() for name, mask in split.subsets.items()
        }


def test_any_reader_of_parquet_finds_a_row_for_each_clip(tmp_path: Path) -> None:
    score_table.write(tmp_path / "scores.parquet", a_network())
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names[:5] == ["split", "clip_id", "artist", "probabilities", "labels"]
    assert table["split"].to_pylist().count("test") == 80
    assert len(table["probabilities"][0]) == len(TAGS)


def test_a_table_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    with pytest.raises(SearchError, match=r"there are no scores of clips at .*scores\.parquet"):
        score_table.read(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SearchError, match=r"scores\.parquet can't be read as scores of clips: "):
        score_table.read(path)
    pq.write_table(pa.table({"split": ["test"]}).replace_schema_metadata({"tags": "[]"}), path)
    with pytest.raises(
        SearchError, match="was written by another release, without the protocol and the artists"
    ):
        score_table.read(path)


def test_a_summary_has_macro_means_intervals_subsets_and_every_tag() -> None:
    said = a_network()
    test = said.splits["test"]
    found = scores.summary(said, resamples.of(said))
    assert found["test"]["roc_auc"] == score(test.probabilities, test.labels, TAGS).roc_auc
    assert found["test"]["loss"] == 0.5
    for unit, groups in (("clip", None), ("artist", test.artists)):
        for metric in ("roc_auc", "pr_auc"):
            wanted = interval(test.labels, test.probabilities, groups, metric=metric)
            assert scores.interval(found["test"], unit, metric) == wanted
    part = test.subsets["unseen_artist"]
    assert found["subsets"]["unseen_artist"]["clips"] == 40
    assert (
        found["subsets"]["unseen_artist"]["pr_auc"]
        == score(test.probabilities[part], test.labels[part], TAGS).pr_auc
    )
    assert [tag["tag"] for tag in found["tags"]] == list(TAGS)
    assert found["tags"][1]["positives"] == int(test.labels[:, 1].sum())


def test_without_artists_there_is_no_interval_over_them() -> None:
    said = a_network(artists=0)
    found = scores.summary(said, resamples.of(said))
    assert scores.interval(found["test"], "artist") is None
    assert scores.interval(found["test"], "clip") is not None


def test_resamples_are_kept_and_tell_which_clips_they_drew(tmp_path: Path) -> None:
    found = resamples.of(a_network())
    resamples.write(tmp_path / "r.safetensors", found)
    back = resamples.read(tmp_path / "r.safetensors")
    assert back is not None
    assert (back.groups, back.draws) == (found.groups, found.draws)
    assert np.array_equal(back.values["test.artist.pr_auc"], found.values["test.artist.pr_auc"])
    assert back.groups["test.artist"] == 20
    assert resamples.of(a_network(seed=2)).draws == found.draws
    assert resamples.of(a_network(clips=81)).draws["test.clip"] != found.draws["test.clip"]
    assert resamples.read(tmp_path / "none") is None
    (tmp_path / "r.safetensors").write_bytes(b"half")
    with pytest.raises(
        SearchError, match=r"r\.safetensors is damaged \(.*\); remove it to have it made anew"
    ):
        resamples.read(tmp_path / "r.safetensors")


def test_a_tag_of_one_class_is_listed_in_the_summary_and_in_no_mean() -> None:
    said = a_network()
    test = said.splits["test"]
    silent = test.labels.copy()
    silent[:, 2] = 0
    said = replace(said, splits={**said.splits, "test": replace(test, labels=silent)})
    found = scores.summary(said, resamples.of(said))
    assert found["tags"][2] == {"tag": "sad", "positives": 0, "roc_auc": None, "average_precision": None}
    assert found["test"]["tags_scored"] == 2
