"""Several files through one network at once: threads, memory, and what breaks in the middle."""

# ruff: noqa: F811 (a fixture is asked for by the name under which it is imported)

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from made_music import NAMES, TAGS, checkpoint, music, tagger  # noqa: F401

import zoo
from zoo.tagging import tag_files


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """Of torch, which are as many files at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_files_at_once_and_batches_of_them_change_no_probability(
    tagger, checkpoint, music, at_once, threads, monkeypatch
):
    files = [music / name for name in NAMES] * 3
    alone = [np.array(list(tagger(file).values())) for file in files]
    sizes, used = [], set()
    listen = zoo.Tagger.probabilities

    def counted(self, segments):
        sizes.append(len(segments))
        used.add(torch.get_num_threads())
        return listen(self, segments)

    monkeypatch.setattr("zoo.trained.tagger.Tagger.probabilities", counted)
    monkeypatch.setattr("zoo.trained.tagger.Tagger.segments_at_once", at_once)
    songs = list(tag_files(zoo.load(checkpoint), files))  # one that has not looked up yet how many it takes
    assert [song.file for song in songs] == files
    assert sorted(sizes) == sorted(size for song in songs for size in _batches(song.segments, at_once)), (
        "only the last batch of a file may be smaller"
    )
    assert used == {1}, "of each of the files at once"
    assert torch.get_num_threads() == threads
    assert sum(sizes) == sum(song.segments for song in songs)
    for song, wanted in zip(songs, alone, strict=True):
        assert song.probabilities == pytest.approx(wanted, abs=1e-6)


def _batches(segments, at_once):
    return [at_once] * (segments // at_once) + ([segments % at_once] if segments % at_once else [])


def test_a_file_by_itself_has_all_threads(tagger, music, threads, monkeypatch):
    used = set()
    listen = zoo.Tagger.probabilities
    monkeypatch.setattr(
        "zoo.trained.tagger.Tagger.probabilities",
        lambda self, segments: (used.add(torch.get_num_threads()), listen(self, segments))[1],
    )
    list(tag_files(tagger, [music / "d.ogg"]))
    assert used == {threads}


def test_on_a_gpu_batches_are_heard_in_turn(tagger, music, threads, monkeypatch):
    listening, most = [], []
    listen = zoo.Tagger.probabilities

    def counted(self, segments):
        listening.append(1)
        most.append(len(listening))
        said = listen(self, segments)
        listening.pop()
        return said

    monkeypatch.setattr("zoo.trained.tagger.Tagger.probabilities", counted)
    monkeypatch.setattr("zoo.trained.tagger.Tagger.is_on_processor", False)
    songs = list(tag_files(tagger, [music / name for name in NAMES] * 4))
    assert len(songs) == 20
    assert max(most) == 1


@pytest.fixture
def heard(monkeypatch):
    """How many batches the network has heard."""
    batches, listen = [], zoo.Tagger.probabilities
    monkeypatch.setattr(
        "zoo.trained.tagger.Tagger.probabilities",
        lambda self, segments: (batches.append(1), listen(self, segments))[1],
    )
    return batches


def test_whoever_leaves_early_leaves_no_thread_at_work(checkpoint, music, threads, monkeypatch):
    """Files that are in the middle when somebody leaves are not heard to their end, and the others not begun."""
    left, begun, ended, first = threading.Event(), [], [], music / "d.ogg"

    def decoded(path, rate_hz):
        begun.append(path)
        yield np.zeros(243, np.float32)
        if path != first:
            assert left.wait(10), "nobody is told"
            yield from np.zeros((4, 243), np.float32)
            ended.append(path)

    monkeypatch.setattr("zoo.tagging.Event", lambda: left)
    monkeypatch.setattr("datasets.audio.decode_blocks", decoded)
    monkeypatch.setattr("zoo.trained.tagger.Tagger.segments_at_once", 1)
    songs = tag_files(zoo.load(checkpoint), [first] + [music / "e.aiff"] * 6)
    assert next(songs).file == first
    songs.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tagging")]
    assert ended == []
    assert len(begun) <= 1 + threads


def test_whoever_calls_keeps_the_threads_of_torch(tagger, music, threads):
    first, second = (tag_files(tagger, [music / "e.aiff"] * 3) for _ in range(2))
    next(first), next(second)
    assert torch.get_num_threads() == threads
    first.close()
    second.close()
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads, "of a thread that begins later"


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_long_file_does_not_keep_the_others_waiting(tagger, music, threads, monkeypatch):
    """The first file is heard only when nine others, which one of two workers takes, have been."""
    others = threading.Semaphore(0)
    long = music / "d.ogg"

    def decoded(path, rate_hz):
        if path == long:
            assert all(others.acquire(timeout=60) for _ in range(9)), "they waited"
        else:
            others.release()
        yield np.zeros(243, np.float32)

    monkeypatch.setattr("datasets.audio.decode_blocks", decoded)
    assert [song.error for song in tag_files(tagger, [long] + [music / "e.aiff"] * 9)] == [None] * 10


@pytest.mark.parametrize("threads", [1], indirect=True)
def test_a_file_is_told_as_soon_as_it_is_heard(tagger, music, threads, heard):
    songs = tag_files(tagger, iter([music / "d.ogg", music / "e.aiff"]))
    assert next(songs).file.name == "d.ogg"
    assert len(heard) == 1
    songs.close()


def test_where_memory_runs_out_fewer_segments_are_heard_at_once(tagger, music, monkeypatch):
    listen = zoo.Tagger.probabilities

    def small(self, segments):
        if len(segments) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return listen(self, segments)

    expected = tagger(music / "d.ogg")
    monkeypatch.setattr("zoo.trained.tagger.Tagger.probabilities", small)
    (song,) = tag_files(tagger, [music / "d.ogg"])
    assert song.error is None
    assert tagger.named(song.probabilities) == pytest.approx(expected, abs=1e-6)


def test_a_file_that_breaks_in_the_middle_costs_the_others_nothing(tagger, tmp_path, music, monkeypatch):
    broken = tmp_path / "broken.wav"
    monkeypatch.setattr("datasets.audio.BLOCK_SAMPLES", 2000)
    wave = np.full(20_000, 0.1, dtype=np.float32)
    wave[-1] = np.inf
    soundfile.write(broken, wave, 8000, subtype="FLOAT")
    songs = list(tag_files(tagger, [music / "d.ogg", broken, music / "e.aiff"]))
    assert [song.error for song in songs] == [
        None,
        f"{broken} is undecodable: some samples are not numbers",
        None,
    ]
    assert songs[2].probabilities == pytest.approx(list(tagger(music / "e.aiff").values()), abs=1e-6)
