"""The loading benchmark measures one and the same thing each way, and says what it measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import loading, measuring, rounds
from benchmarks.clips import SEGMENT_SAMPLES, Clips, opened, render, store_name
from benchmarks.peers import OURS, PEERS, Way

from datasets.errors import DatasetError

TWO_SEGMENTS = 2 * SEGMENT_SAMPLES


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Five different clips of two segments each; a store of them and one that lists it three times."""
    folder = tmp_path_factory.mktemp("benchmark")
    return render(folder / "clips", 5, lambda clips: None, samples=TWO_SEGMENTS, copies=3)


@pytest.mark.parametrize("way", [*OURS, *PEERS], ids=lambda way: way.title)
def test_every_way_serves_the_same_segments(clips: Clips, way: Way) -> None:
    jobs = measuring.random_jobs(clips, 2, np.random.default_rng(0))
    served = [batch.clone() for batch in way.open(clips)(jobs)]
    music = [np.load(file) for file in clips.files("npy")]
    assert len(served) == len(jobs)
    for batch, (numbers, starts) in zip(served, jobs, strict=True):
        wanted = [
            music[clip][start : start + SEGMENT_SAMPLES] for clip, start in zip(numbers, starts, strict=True)
        ]
        # Decoding mp3 gives floats between the steps of int16, to which the other forms are rounded.
        rounded = 0.51 / 32768 if way.kind == "mp3" else 0
        torch.testing.assert_close(
            batch.to(torch.float32) / way.scale, torch.from_numpy(np.stack(wanted)), rtol=0, atol=rounded
        )


def test_a_cold_round_enters_no_clip_twice(clips: Clips) -> None:
    ((numbers, starts),) = measuring.jobs_once(clips, np.random.default_rng(0))
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert (starts <= TWO_SEGMENTS - SEGMENT_SAMPLES).all()


def test_the_larger_store_is_the_same_music_more_often(clips: Clips) -> None:
    once, thrice = clips.split(), opened(clips.folder / store_name(3))
    assert (len(once), len(thrice)) == (10, 30)
    first = [wave for _, wave in once.clips()]
    assert torch.equal(torch.cat([wave for _, wave in thrice.clips()]), torch.cat(first * 3))


def test_files_that_were_read_are_in_memory_and_dropped_ones_are_not(clips: Clips) -> None:
    files = clips.files("flac")
    measuring.read_all(files)
    assert measuring.in_memory(files) == 1
    try:
        measuring.drop(files)
    except measuring.StillInMemory as problem:
        pytest.skip(f"the temporary folder is on no disk: {problem}")
    assert measuring.in_memory(files) <= measuring.MAY_STAY


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    def rates(ours: float, theirs: float) -> dict[str, measuring.Rate]:
        return {"ours": measuring.Rate(ours, ours), "theirs": measuring.Rate(theirs, theirs)}

    busy_and_idle = [rates(10, 1), rates(300, 10), rates(2_000, 100)]
    lines = rounds.table(["ours", "theirs"], busy_and_idle, "wall", ("theirs", "times theirs"), "theirs")
    assert lines.splitlines()[0] == (
        "| way | segments/s | per core-second | MB/s as int16 | times theirs | of the limit |"
    )
    assert lines.splitlines()[2] == "| ours | 300 | 300 | 35 | 20.00 | 2000.0% |"


@pytest.mark.slow
def test_the_memory_of_a_serving_process_is_its_own_and_that_of_the_files(clips: Clips) -> None:
    found = rounds._memory_of(clips.folder / store_name(3))
    assert found["segments"] == 30
    assert 0 < found["before"] < found["own"] < found["all"]


@pytest.mark.slow
def test_the_whole_benchmark_says_three_tables(tmp_path: Path) -> None:
    said: list[str] = []
    rounds.benchmark(
        loading.Settings(
            clips=4, seconds=0.02, rounds=1, folder=str(tmp_path), samples=TWO_SEGMENTS, copies=2
        ),
        said.append,
    )
    text = "\n".join(said)
    for way in (*OURS, *PEERS):
        assert f"| {way.title} |" in text
    assert "\nCold" in text
    assert "Memory of the serving process, 400 batches; 2 times the data are hard links" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["clip=3"], r"'clip=3' is no word of this command; did you mean clips\?"),
        (["clips=many"], "clips= and rounds= are whole numbers, seconds= a number: .*'many'"),
        (["rounds=0"], "give at least clips=4, rounds=1, and seconds= above 0"),
        (["seconds=nan"], "give at least clips=4, rounds=1, and seconds= above 0"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(DatasetError, match=answer):
        loading.settings(words)
    assert loading.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert loading.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}=" in said for word in ("clips", "seconds", "rounds", "folder"))
    assert loading.settings(["clips=5", "seconds=2"]) == loading.Settings(clips=5, seconds=2.0)
