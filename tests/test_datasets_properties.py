"""What holds for every data set that could be built: nothing lost, nothing twice, nothing on two sides."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mtat_tree import Clip, music, write_tree

import datasets
from datasets import mtat
from datasets.build import build
from datasets.recipe import SPLITS
from datasets.shards import quantise, tasks

EXAMPLES = settings(
    derandomize=True,
    deadline=None,
    max_examples=20,
    # The store is built once and only read.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LENGTHS = (1, 999, 1_000, 1_001, 2_500, 4_000, 7_777)
FOLDERS = "0bcdf"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an mtat of 35 clips: every length in every kind of folder, some without tags."""
    home = tmp_path_factory.mktemp("home")
    clips = []
    for number in range(len(LENGTHS) * len(FOLDERS)):
        length, folder = LENGTHS[number % len(LENGTHS)], FOLDERS[number % len(FOLDERS)]
        tags = ("rock",) if number % 4 else ()
        clips.append(Clip(100 + number, f"{folder}/{number}.mp3", tags, music(length, number)))
    build("mtat", write_tree(home / "source", clips), workers=1, out=home)
    return home


@pytest.fixture
def mtat_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    return home


@EXAMPLES
@given(segment_samples=st.integers(50, 9_000))
def test_the_segments_of_a_clip_are_its_samples_in_order_each_at_most_once(
    mtat_home: Path, segment_samples: int
) -> None:
    served = 0
    for split in SPLITS:
        part = datasets.open("mtat", split, segment_samples, "all")
        for clip, wave in part.clips():
            number = int(part.clip_ids[clip]) - 100
            length = LENGTHS[number % len(LENGTHS)]
            segments, flat = len(wave), wave.numpy().reshape(-1)
            assert segments == max(1, length // segment_samples)
            whole = quantise(music(length, number))[0] / np.float32(32768)
            inside = min(length, segments * segment_samples)
            assert np.array_equal(flat[:inside], whole[:inside])
            assert not flat[inside:].any()
            served += segments
        assert served >= len(part)
    assert served == sum(len(datasets.open("mtat", split, segment_samples, "all")) for split in SPLITS)


@EXAMPLES
@given(
    segment_samples=st.integers(100, 3_000),
    batch_size=st.integers(2, 9),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 99),
)
def test_an_epoch_serves_no_segment_twice_and_loses_less_than_a_batch(
    mtat_home: Path, segment_samples: int, batch_size: int, seed: int, epoch: int
) -> None:
    part = datasets.open("mtat", "valid", segment_samples, "all")
    fixed = Counter(segment.tobytes() for _, wave in part.clips() for segment in wave.numpy())
    served = Counter(
        segment.tobytes() for wave, _ in part.batches(batch_size, seed, epoch) for segment in wave.numpy()
    )
    assert served <= fixed
    assert len(part) - served.total() < batch_size


@pytest.mark.parametrize("convention", mtat.CONVENTIONS)
def test_every_clip_is_on_one_side_at_most_and_no_clip_is_lost(mtat_home: Path, convention: str) -> None:
    sides = [datasets.open("mtat", split, 1_000, convention).clip_ids for split in SPLITS]
    counted = Counter(clip for side in sides for clip in side)
    assert set(counted.values()) == {1}
    untagged = {str(100 + number) for number in range(35) if not number % 4}
    everyone = {str(100 + number) for number in range(35)}
    assert set(counted) == (everyone if convention == "all" else everyone - untagged)


@EXAMPLES
@given(
    clip_id=st.integers(2, 60_000).map(str),
    folder=st.sampled_from("0123456789abcdef"),
    tagged=st.booleans(),
)
def test_a_clip_has_one_split_which_its_folder_says(clip_id: str, folder: str, tagged: bool) -> None:
    labels = np.zeros(50, np.uint8)
    labels[7] = tagged
    splits = mtat.splits_of(clip_id, f"{folder}/a.mp3", labels)
    assert set(splits.values()) <= {"train" if folder < "c" else "valid" if folder == "c" else "test"}
    assert set(splits) in (set(), {"all"}, {"all", "tagged"}, {"all", "tagged", "paper"})


@EXAMPLES
@given(n_clips=st.integers(1, 400), clips_per_shard=st.integers(1, 130))
def test_shards_hold_every_clip_once_in_order(n_clips: int, clips_per_shard: int) -> None:
    from datasets.recipe import Plan, PlannedClip

    clips = tuple(PlannedClip(str(number), f"{number}.wav", 1, {}) for number in range(n_clips))
    plan = Plan(
        name="any",
        version="1",
        source="",
        sample_rate_hz=16_000,
        clip_samples=10,
        segmented_samples=None,
        tags=("a",),
        labels=np.zeros((n_clips, 1), np.uint8),
        clips=clips,
        conventions=("one",),
        read=lambda source, clip, rate_hz, seconds: np.zeros(1, np.float32),
        listed={},
        clips_per_shard=clips_per_shard,
    )
    todo = tasks(plan, Path("/nowhere"))
    assert tuple(clip for task in todo for clip in task.clips) == clips
    assert [task.number for task in todo] == list(range(len(todo)))
    assert all(len(task.clips) == clips_per_shard for task in todo[:-1])


@EXAMPLES
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=50).map(lambda some: np.array(some, np.float32))
)
def test_a_stored_sample_is_the_nearest_there_is(wave: np.ndarray) -> None:
    samples, beyond = quantise(wave)
    within = np.clip(wave.astype(np.float64), -1, 32767 / 32768)
    assert np.abs(samples / 32768 - within).max() <= 0.5 / 32768
    assert beyond == int(((wave * 32768).round() > 32767).sum() + ((wave * 32768).round() < -32768).sum())
