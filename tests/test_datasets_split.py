"""Serving: which segments there are, in which order they come, and which samples are in a batch."""

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from mtat_tree import Clip, write_table, write_tree
from mtat_tree import music as music_of

import datasets
from datasets import music
from datasets.build import build
from datasets.mapping import SampleMap

LENGTHS = (9_000, 5_500, 4_999, 700, 8_000, 12_345)


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    return [np.round(music_of(length, seed) * 32768) / 32768 for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, waves: list[np.ndarray]) -> Path:
    """A home with six clips of different lengths in train, one in valid, none in test."""
    folder = tmp_path_factory.mktemp("home")
    tags = [("rock", "slow"), ("rock",), ("slow",), ("guitar",), ("techno", "rock"), ("choral",)]
    clips = [Clip(i, f"0/{i}.mp3", tags[i], wave) for i, wave in enumerate(waves)]
    clips.append(Clip(99, "c/valid.mp3", ("rock",), music_of(5_000)))
    build("mtat", write_tree(folder / "source", clips), workers=1, out=folder)
    return folder


@pytest.fixture
def train(home: Path, monkeypatch: pytest.MonkeyPatch) -> datasets.Split:
    """The six clips in segments of 1,000 samples: 9 + 5 + 4 + 1 + 8 + 12 = 39."""
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    return datasets.open("mtat", "train", 1_000)


def epoch_of(split: datasets.Split, **words: object) -> torch.Tensor:
    """All waves of one epoch, in their order."""
    settings = {"batch_size": 4, "seed": 0, "epoch": 0, **words}
    return torch.cat([wave for wave, _ in split.batches(**settings)])


def find(segment: torch.Tensor, waves: list[np.ndarray]) -> tuple[int, int]:
    """(clip, start) of a segment, by looking for its samples everywhere."""
    wanted = segment.numpy()
    for clip, wave in enumerate(waves):
        for start in np.flatnonzero(wave[: max(1, len(wave) - len(wanted) + 1)] == wanted[0]):
            if np.array_equal(wave[start : start + len(wanted)], wanted):
                return clip, int(start)
    raise AssertionError("these samples are nowhere in the clips")


@pytest.fixture(scope="module")
def full_length_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one clip of 29.1 s and a bit."""
    folder = tmp_path_factory.mktemp("full-length")
    clip = Clip(2, "0/a.mp3", audio=music_of(645_000))
    build("mtat", write_tree(folder / "source", [clip]), workers=1, out=folder)
    return folder


@pytest.mark.parametrize(
    ("segment_samples", "segments"),
    [(16_384, 39), (32_768, 19), (19_683, 32), (59_049, 10), (65_536, 9), (15_625, 40), (78_125, 8)],
)
def test_29_seconds_make_the_papers_number_of_segments(
    full_length_home: Path, monkeypatch: pytest.MonkeyPatch, segment_samples: int, segments: int
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(full_length_home))
    split = datasets.open("mtat", segment_samples=segment_samples)
    assert datasets.card("mtat").clip_samples == 641_655
    assert (len(split), split.segments_per_clip) == (segments, segments)
    (clip,) = split.clips()
    assert clip[1].shape == (segments, segment_samples)


def test_a_split_knows_its_clips_and_labels_by_name(train: datasets.Split) -> None:
    assert train.clip_ids == ["0", "1", "2", "3", "4", "5"]
    assert (train.n_clips, len(train), train.sample_rate_hz) == (6, 39, 22_050)
    assert (train.labels.dtype, train.labels.shape) == (np.uint8, (6, 50))
    assert train.labels[:, train.tags.index("rock")].tolist() == [1, 1, 0, 0, 1, 0]
    assert train.tag_hash == datasets.card("mtat").tag_hash == datasets.tag_hash(train.tags)


def test_segments_are_fixed_do_not_overlap_and_start_at_sample_0(
    train: datasets.Split, waves: list[np.ndarray]
) -> None:
    for clip, segments in train.clips():
        whole = waves[clip][: len(waves[clip]) // 1_000 * 1_000]
        if len(whole):
            assert np.array_equal(segments.numpy().reshape(-1), whole)


@pytest.mark.parametrize("most", [1, 7, 1_000, 0])
@pytest.mark.parametrize("rank", [0, 1])
def test_clips_together_are_the_clips_in_their_order(train: datasets.Split, most: int, rank: int) -> None:
    wanted = list(train.clips(rank, 2))
    most = most or sum(len(wave) for _, wave in wanted[:2])  # 0: the first two fit just so
    found = list(train.clips_together(most, rank, 2))
    assert [clip for clips, _, _ in found for clip in clips] == [clip for clip, _ in wanted]
    segments = [each for _, counts, wave in found for each in wave.split(counts)]
    assert all(torch.equal(one, other) for one, (_, other) in zip(segments, wanted, strict=True))
    for (clips, counts, wave), (_, following, _) in itertools.pairwise(found):
        assert len(wave) == sum(counts) <= most or len(clips) == 1
        assert sum(counts) + following[0] > most, "another clip would have fitted"


def test_a_clip_shorter_than_a_segment_is_filled_with_zeros(
    train: datasets.Split, waves: list[np.ndarray]
) -> None:
    segments = dict(train.clips())[3]
    assert segments.shape == (1, 1_000)
    assert np.array_equal(segments[0, :700].numpy(), waves[3])
    assert not segments[0, 700:].any()


def test_an_epoch_serves_each_fixed_segment_once_but_for_the_left_over(
    train: datasets.Split, waves: list[np.ndarray]
) -> None:
    served = epoch_of(train)
    known = torch.cat([segments for _, segments in train.clips()])
    rows = [int(torch.nonzero((known == segment).all(dim=1))) for segment in served]
    assert len(rows) == len(set(rows)) == 36


def test_waves_and_tags_are_float32_and_belong_together(
    train: datasets.Split, waves: list[np.ndarray]
) -> None:
    for wave, tags in train.batches(batch_size=4, seed=1, epoch=2, crops=True):
        assert (wave.dtype, tags.dtype) == (torch.float32, torch.float32)
        assert (wave.shape, tags.shape) == ((4, 1_000), (4, 50))
        for segment, row in zip(wave, tags, strict=True):
            if segment[700:].any():
                clip, _ = find(segment, waves)
                assert np.array_equal(row.numpy(), train.labels[clip])


def test_crops_start_anywhere_in_their_clip(train: datasets.Split, waves: list[np.ndarray]) -> None:
    starts = [find(segment, waves)[1] for segment in epoch_of(train, crops=True) if segment[700:].any()]
    assert len({start % 1_000 for start in starts}) > 20


@pytest.mark.parametrize("crops", [False, True])
def test_the_order_depends_on_seed_and_epoch_alone(train: datasets.Split, crops: bool) -> None:
    first = epoch_of(train, seed=3, epoch=5, crops=crops)
    np.random.default_rng(0).random()
    again = datasets.open("mtat", "train", 1_000)
    assert torch.equal(first, epoch_of(again, seed=3, epoch=5, crops=crops))
    assert not torch.equal(first, epoch_of(train, seed=3, epoch=6, crops=crops))
    assert not torch.equal(first, epoch_of(train, seed=4, epoch=5, crops=crops))


def test_the_order_does_not_depend_on_the_batch_size(train: datasets.Split) -> None:
    assert torch.equal(epoch_of(train, batch_size=4), epoch_of(train, batch_size=9))


def test_a_limit_serves_the_first_segments_of_the_epoch(train: datasets.Split) -> None:
    assert torch.equal(epoch_of(train, limit=8), epoch_of(train)[:8])


@pytest.mark.parametrize(
    ("batch_size", "limit", "batches"), [(4, None, 9), (39, None, 1), (64, None, 1), (4, 10, 2), (16, 7, 1)]
)
def test_n_batches_is_how_many_are_served(
    train: datasets.Split, batch_size: int, limit: int | None, batches: int
) -> None:
    served = list(train.batches(batch_size, 0, 0, limit=limit))
    assert len(served) == train.n_batches(batch_size, limit) == batches


def test_an_epoch_shorter_than_a_batch_is_one_smaller_batch(train: datasets.Split) -> None:
    ((wave, _),) = train.batches(batch_size=64, seed=0, epoch=0)
    assert len(wave) == 39


def test_a_served_batch_is_not_overwritten_by_the_next(train: datasets.Split) -> None:
    batches = train.batches(4, 0, 0)
    first = next(batches)[0]
    kept = first.clone()
    next(batches)
    assert torch.equal(first, kept)


def test_all_is_a_wider_convention_than_paper(train: datasets.Split) -> None:
    assert datasets.open("mtat", "train", 1_000, convention="all").n_clips == 6
    assert train.convention == "paper"


def test_batches_are_refused_where_batch_norm_could_not_work(train: datasets.Split) -> None:
    with pytest.raises(datasets.DatasetError, match="batch_size=1: batch norm needs 2 or more"):
        train.batches(1, 0, 0)
    with pytest.raises(datasets.DatasetError, match="limit=1: batch norm needs 2 segments or more"):
        train.n_batches(4, limit=1)
    valid = datasets.open("mtat", "valid", 5_000)
    with pytest.raises(
        datasets.DatasetError, match=r"mtat has 1 segment\(s\) of 5000 samples in valid \(paper\)"
    ):
        valid.batches(4, 0, 0)
    with pytest.raises(datasets.DatasetError, match="seed=-1, epoch=0, skip=0: all count from 0"):
        train.batches(4, -1, 0)


def test_a_split_without_clips_is_empty_and_serves_nothing(train: datasets.Split) -> None:
    test = datasets.open("mtat", "test", 1_000)
    assert (len(test), test.n_clips, test.segments_per_clip, list(test.clips())) == (0, 0, 0, [])
    with pytest.raises(datasets.DatasetError, match=r"mtat has 0 segment\(s\)"):
        test.batches(4, 0, 0)


def test_unknown_words_are_answered_with_the_nearest(train: datasets.Split) -> None:
    with pytest.raises(datasets.DatasetError, match=r"no data set is called 'mtta'; did you mean mtat\?"):
        datasets.open("mtta")
    with pytest.raises(datasets.DatasetError, match=r"mtat has no split 'validation'; did you mean valid\?"):
        datasets.open("mtat", "validation")
    with pytest.raises(datasets.DatasetError, match=r"no split convention 'papr'; did you mean paper\?"):
        datasets.open("mtat", convention="papr")
    with pytest.raises(datasets.DatasetError, match="segment_samples=0: a segment has at least 1 sample"):
        datasets.open("mtat", segment_samples=0)


def test_a_data_set_that_is_not_built_is_answered_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    assert not datasets.is_built("mtat")
    with pytest.raises(datasets.DatasetError) as refusal:
        datasets.open("mtat")
    assert str(refusal.value) == (
        f"mtat has not been built in {tmp_path}/datasets/mtat; "
        "type: python -m datasets.build name=mtat source=FOLDER"
    )


def test_an_epoch_taken_up_in_its_middle_gives_the_rest_of_that_epoch(train: datasets.Split) -> None:
    whole = epoch_of(train)
    assert torch.equal(epoch_of(train, skip=3), whole[3 * 4 :])
    assert list(train.batches(4, seed=0, epoch=0, skip=9)) == []


def test_ranks_share_every_batch_without_a_gap_or_a_double(train: datasets.Split) -> None:
    whole = [wave for wave, _ in train.batches(8, seed=3, epoch=1)]
    parts = [[wave for wave, _ in train.batches(8, seed=3, epoch=1, rank=rank, ranks=3)] for rank in range(3)]
    assert [len(part[0]) for part in parts] == [3, 3, 2]
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat(shares), batch)


@pytest.mark.parametrize(("rank", "ranks"), [(2, 2), (-1, 2), (0, 3)])
def test_ranks_that_could_not_share_a_batch_are_refused(train: datasets.Split, rank: int, ranks: int) -> None:
    with pytest.raises(datasets.DatasetError, match=f"rank={rank} of {ranks} can't share batches of 4"):
        train.batches(4, seed=0, epoch=0, rank=rank, ranks=ranks)


@pytest.mark.parametrize("crops", [False, True])
def test_music_that_is_not_in_memory_yet_is_served_the_same(
    train: datasets.Split, monkeypatch: pytest.MonkeyPatch, crops: bool
) -> None:
    warm = epoch_of(train, crops=crops)
    monkeypatch.setattr(music, "WARM_SHARE", 2.0)  # as if nothing ever were
    cold = epoch_of(train, crops=crops)
    assert isinstance(train.music, music.Stored)
    assert train.music.cold
    assert torch.equal(cold, warm)


def test_a_processor_gathers_music_in_memory_without_a_thread(train: datasets.Split) -> None:
    batches = train.batches(4, seed=0, epoch=0)
    next(batches)
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("crops", [False, True])
def test_samples_put_on_a_device_are_served_the_same(train: datasets.Split, crops: bool) -> None:
    resident = datasets.open("mtat", "train", 1_000, resident="yes")
    assert not isinstance(resident.music, music.Stored)
    assert torch.equal(epoch_of(resident, crops=crops), epoch_of(train, crops=crops))
    for (_, here), (_, there) in zip(resident.clips(), train.clips(), strict=True):
        assert torch.equal(here, there)


def test_a_device_is_told_all_places_at_once_and_gives_the_same(train: datasets.Split) -> None:
    held = train.music.moved(torch.device("cpu"))
    clips = np.arange(len(held.lengths))
    jobs = [(clips, np.full(len(clips), start)) for start in (0, 500)]
    found, wanted = [*held._there(jobs)], [*held.each(jobs)]
    assert len(found) == 2
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert found[0].dtype == torch.float32


def test_music_that_stays_behind_is_moved_as_it_is(train: datasets.Split) -> None:
    jobs = [train._all_of([0, 3]), train._all_of([2])]
    for job, wanted in zip(jobs, train.music.each(jobs), strict=True):
        assert torch.equal(music.as_waves(train._moved(job)), wanted)


def test_without_a_gpu_nothing_is_made_resident_by_itself(train: datasets.Split) -> None:
    assert isinstance(train.music, music.Stored)
    with pytest.raises(datasets.DatasetError, match="resident='maybe' is no choice"):
        datasets.open("mtat", "train", 1_000, resident="maybe")


def test_a_batch_is_its_owners_to_keep(train: datasets.Split) -> None:
    kept = [wave for wave, _ in train.batches(4, seed=0, epoch=0)]
    assert torch.equal(torch.cat(kept), epoch_of(train))


def test_leaving_an_epoch_early_ends_its_thread(
    train: datasets.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(music, "WARM_SHARE", 2.0)
    batches = train.batches(4, seed=0, epoch=0)
    next(batches)
    assert any(thread.name == "prefetch" for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_what_goes_wrong_in_the_background_is_told_where_the_batch_is_asked_for(
    train: datasets.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(music, "WARM_SHARE", 2.0)
    monkeypatch.setattr(train.music, "gather", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        next(train.batches(4, seed=0, epoch=0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("resident", ["yes", "no", "auto"])
def test_a_gpu_gets_the_same_batches(train: datasets.Split, resident: str) -> None:
    there = datasets.open("mtat", "train", 1_000, device="cuda", resident=resident)
    served = epoch_of(there)
    assert served.device.type == "cuda"
    assert torch.equal(served.cpu(), epoch_of(train))


def test_files_of_any_length_lie_side_by_side(tmp_path: Path) -> None:
    arrays = [np.arange(n, dtype=np.int16) + 1 for n in (1, 2048, 2049, 5000)]
    files = [tmp_path / f"{i}" for i in range(len(arrays))]
    for file, array in zip(files, arrays, strict=True):
        file.write_bytes(array.tobytes())
    mapped = SampleMap(files, spare_samples=100)
    for start, array in zip(mapped.starts, arrays, strict=True):
        assert np.array_equal(mapped.samples[start : start + len(array)].numpy(), array)
    assert not mapped.samples[-100:].any()
    assert mapped.resident_share() == 1.0  # just written


def test_an_empty_file_cannot_be_mapped_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(datasets.DatasetError, match="empty can't be mapped into memory: Invalid argument"):
        SampleMap([tmp_path / "empty"], spare_samples=100)


def test_parts_of_the_test_clips_that_training_never_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [
        Clip(i, f"{side}/{i}.mp3", ("rock",), music_of(1_000, i))
        for i, side in enumerate(("0", "1", "d", "e", "f"))
    ]
    source = write_tree(tmp_path / "source", clips)
    url = "http://x/01-{}-Somebody.mp3"
    rows = [
        ("0", "Ann", "0", url.format("One")),
        ("1", "Bob", "29", url.format("Two")),
        ("2", "Ann", "29", url.format("One")),  # a known artist, other seconds
        ("3", "Cid", "29", url.format("two")),  # an unknown artist, the same recording
        ("4", "", "59", url.format("Three")),  # nobody knows whose
    ]
    write_table(
        source / "clip_info_final.csv", [("clip_id", "artist", "segmentStart", "original_url"), *rows]
    )
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    build("mtat", source, workers=1)
    test = datasets.open("mtat", "test", 1_000)
    assert {name: mask.tolist() for name, mask in test.subsets.items()} == {
        "unseen_artist": [False, True, False],
        "twin_free": [True, False, True],
    }
    assert datasets.open("mtat", "train", 1_000).subsets == {}


def test_a_part_that_holds_all_clips_or_none_is_no_part(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    assert datasets.open("mtat", "valid", 1_000).subsets == {}
