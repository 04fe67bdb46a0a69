"""What can go wrong with one clip costs that clip, and what goes wrong with the machine costs nothing built."""

import csv
import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import faulty_build
import faulty_readers
import numpy as np
import own_music
import pytest
from mtat_tree import Clip, music, wav, write_tree

from datasets import mtat, workers
from datasets.build import build, main
from datasets.cards import Card, parse
from datasets.errors import DatasetError
from datasets.shards import tasks
from datasets.verify import stored_card, verify
from datasets.workers import KEPT_BYTES, PROGRAM_BYTES, SPAWN, Bench, Job, Pool, memory_bytes

SECONDS = 3  # far more than a good clip takes, on a busy machine too
REASONS = {
    "hang": ("hung", "it is not decoded within the time limit"),
    "segfault": ("crashed", "it ends the process that decodes it"),
    "system_exit": ("crashed", "it ends the process that decodes it"),
    "eat": ("too large", "it needs more memory than a clip may take"),
    "odd": ("undecodable", "its reader failed (ZeroDivisionError)"),
    "recurse": ("undecodable", "its reader failed (RecursionError)"),
    "input_output": ("undecodable", "Input/output error"),
    "no_numbers": ("undecodable", "some samples are not numbers"),
    "nothing": ("undecodable", "its reader gave no float32 (samples,)"),
    "doubles": ("undecodable", "its reader gave no float32 (samples,)"),
}


@pytest.fixture(autouse=True)
def _faulty_mtat(monkeypatch: pytest.MonkeyPatch) -> None:
    """mtat, read by faulty_readers; four clips a shard."""
    monkeypatch.setattr(mtat, "DATASET", replace(mtat.DATASET, plan=faulty_build.plan))


def tree(folder: Path, *faults: str) -> Path:
    """Clips of a tenth of a second, every other one with one of the faults."""
    names = [name for fault in faults for name in (f"good-{fault}", fault)]
    clips = [Clip(2 + i, f"0/{name}-{i}.mp3", audio=music(2_205, i)) for i, name in enumerate(names)]
    return write_tree(folder, clips)


def skipped(home: Path) -> list[tuple[str, str, str]]:
    with (home / "datasets" / "mtat" / "skipped.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return [(Path(row["path"]).stem.rpartition("-")[0], row["reason"], row["detail"]) for row in rows]


def content(home: Path) -> dict[str, bytes]:
    folder = home / "datasets" / "mtat"
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def build_it(source: Path, home: Path, workers: int = 2, seconds: float | None = SECONDS) -> Card:
    return build("mtat", source, workers=workers, out=home, seconds_per_clip=seconds, protected=True)


def test_a_clip_that_hangs_crashes_or_is_no_audio_costs_itself_alone(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", *REASONS)
    card = build_it(source, tmp_path)
    assert skipped(tmp_path) == [(fault, *why) for fault, why in REASONS.items()]
    assert card.clips == len(REASONS)
    assert card.skipped == {"crashed": 2, "hung": 1, "too large": 1, "undecodable": 6}


def test_what_was_given_up_changes_no_byte_between_two_builds(tmp_path: Path) -> None:
    faults = ("odd", "abort", "eat")
    build_it(tree(tmp_path / "source", *faults), tmp_path / "one", workers=1)
    build_it(tree(tmp_path / "moved", *faults), tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_shard_whose_clips_all_crash_is_made_all_the_same(tmp_path: Path) -> None:
    names = [f"good-{i}" for i in range(faulty_build.CLIPS_PER_SHARD)] + ["abort"]
    clips = [Clip(2 + i, f"0/{name}.mp3", audio=music(2_205, i)) for i, name in enumerate(names)]
    card = build_it(write_tree(tmp_path / "source", clips), tmp_path)
    assert (card.clips, card.skipped, len(card.shards)) == (4, {"crashed": 1}, 2)


def test_a_clip_given_up_stays_out_until_a_time_limit_is_typed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tree(tmp_path / "source", "abort")
    assert build_it(source, tmp_path).skipped == {"crashed": 1}
    monkeypatch.setitem(faulty_readers.FAULTS, "abort", lambda source: music(1_000))  # a better decoder
    assert build("mtat", source, workers=1, out=tmp_path).skipped == {"crashed": 1}
    assert build("mtat", source, workers=1, out=tmp_path, seconds_per_clip=SECONDS).skipped == {}


@pytest.mark.parametrize("fault", ["crash_once", "killed_once"])
def test_a_process_that_dies_once_costs_no_clip(tmp_path: Path, fault: str) -> None:
    card = build_it(tree(tmp_path / "source", fault), tmp_path)
    assert (card.clips, card.skipped) == (2, {})


def test_a_process_that_is_killed_again_and_again_ends_the_build_and_blames_no_clip(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", "good", "good", "killed")
    with pytest.raises(DatasetError) as refusal:
        build_it(source, tmp_path, workers=1)
    assert str(refusal.value) == (
        "a worker process died 3 times over shard 00001.arrow, and no clip of it is to blame (out of memory?); "
        "type the same again with fewer workers=, it goes on"
    )
    assert [file.name for file in (tmp_path / "datasets").rglob("*.arrow")] == ["00000.arrow"]


def test_music_that_is_unplugged_costs_no_clip(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", "gone")
    with pytest.raises(DatasetError) as refusal:
        build_it(source, tmp_path)
    assert str(refusal.value) == f"{source}/mp3 is gone; when it is back, the same command goes on"


def test_a_full_disk_while_reading_costs_no_clip(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        build_it(tree(tmp_path / "source", "full"), tmp_path)
    assert not list((tmp_path / "datasets").rglob("*.arrow"))


def run(point: str, *words: str, prepare: Callable[[], None] | None = None) -> tuple[int, str]:
    """A build in a process of its own; its exit code and what it said."""
    command = [sys.executable, faulty_build.__file__, point, "name=mtat", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=prepare)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("after the first shard", ["00000.arrow"]),
        ("before the index", ["00000.arrow", "00001.arrow", "00002.arrow"]),
        ("with the index half-written", ["00000.arrow", "00001.arrow", "00002.arrow", "index.arrow.part"]),
        ("between index and card", ["00000.arrow", "00001.arrow", "00002.arrow", "index.arrow"]),
    ],
)
def test_kill_9_at_any_point_ends_in_the_same_bytes_when_the_same_is_typed_again(
    tmp_path: Path, point: str, left: list[str]
) -> None:
    source = tree(tmp_path / "source", *["good"] * 5, "odd")
    assert run(point, f"source={source}", "workers=1", f"out={tmp_path}")[0] == -9
    folder = tmp_path / "datasets" / "mtat"
    found = {re.sub(r"\.\d+\.\w+\.part$", ".part", file.name) for file in folder.glob("*/*")}
    assert found == set(left)
    assert not (folder / "card.json").exists()
    kept = {file: file.stat().st_ino for file in folder.glob("*/0*.arrow")}
    build("mtat", source, workers=1, out=tmp_path)
    assert kept.items() <= {file: file.stat().st_ino for file in folder.glob("*/0*.arrow")}.items()
    build("mtat", source, workers=1, out=tmp_path / "undisturbed")
    assert content(tmp_path) == content(tmp_path / "undisturbed")


def test_kill_9_before_the_old_build_is_removed_leaves_the_new_one_whole(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", "good")
    build("mtat", source, rate_hz=16_000, workers=1, out=tmp_path)
    assert run("before the old shards are removed", f"source={source}", f"out={tmp_path}")[0] == -9
    assert len(list((tmp_path / "datasets" / "mtat").glob("shards-*"))) == 2
    assert verify("mtat", tmp_path) == []
    build("mtat", source, workers=1, out=tmp_path)
    build("mtat", source, workers=1, out=tmp_path / "undisturbed")
    assert content(tmp_path) == content(tmp_path / "undisturbed")


def test_a_build_that_is_killed_leaves_the_one_before_it_whole(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", "good")
    before = build("mtat", source, rate_hz=16_000, workers=1, out=tmp_path)
    assert run("between index and card", f"source={source}", f"out={tmp_path}")[0] == -9
    assert verify("mtat", tmp_path) == []
    assert stored_card("mtat", tmp_path)[0] == before


def test_a_full_disk_is_one_clear_line_and_nothing_half_written_is_taken_for_whole(tmp_path: Path) -> None:
    """A real refusal of the system: no file may pass 10,000 bytes, and a shard of four clips has 18,000."""
    source = tree(tmp_path / "source", "good", "good", "good")
    words = (f"source={source}", "workers=2", f"out={tmp_path}")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # noqa: E731
    code, said = run("never", *words, prepare=limit)
    (folder,) = (tmp_path / "datasets" / "mtat").glob("shards-*")
    assert code == 2
    assert said.splitlines()[-1].startswith(f"there is no room left for {folder}/0000")
    assert said.endswith(
        ".arrow (File too large); free some: nothing half-written was kept, and the same command goes on\n"
    )
    assert not [file for file in folder.iterdir() if file.suffix == ".arrow"]
    build("mtat", source, workers=1, out=tmp_path)
    assert verify("mtat", tmp_path) == []


@pytest.mark.parametrize("full_at", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_last_moment_leaves_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = tree(tmp_path / "source", "good")
    with monkeypatch.context() as patched:
        patched.setattr(*{"fsync": (os, "fsync", full), "replace": (Path, "replace", full)}[full_at])
        with pytest.raises(OSError, match=r"No space left on device: .*00000\.arrow"):
            build("mtat", source, workers=1, out=tmp_path)
    folder = tmp_path / "datasets" / "mtat"
    assert [file.name for file in folder.rglob("*") if file.is_file()] == [".building"]


def test_a_worker_takes_no_more_memory_than_the_build_says(tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(wav(np.stack([music(44_100 * 30)] * 2, axis=1), 44_100))
    source = write_tree(tmp_path / "source", [Clip(2 + i, f"0/{i}.mp3", audio=song) for i in range(16)])
    todo = tasks(replace(mtat.plan(source, 22_050), clips_per_shard=16), tmp_path)
    assert todo[0].shard_bytes == 16 * 641_655 * 2
    with closing(Pool(1)) as pool:
        assert len(list(pool.run(todo))) == 1
        process = pool.benches[0].process
        assert process is not None
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    assert peak < memory_bytes(todo) < 750e6
    # What the system allows beyond the program itself is the shard, one clip and what it keeps, no more.
    assert memory_bytes(todo) == PROGRAM_BYTES + todo[0].shard_bytes + 256 * 2**20 + KEPT_BYTES


def test_a_clip_has_less_room_alone_than_in_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as much, what was too large beside what its worker held was read well alone, and so again and again."""
    allowed = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: allowed.append(limits[0]))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, -1))
    (task,) = tasks(mtat.plan(tree(tmp_path, "good"), 22_050), tmp_path)
    for alone in (False, True):
        workers._limit_memory(10**9, task, alone)
    in_shard, alone = allowed
    assert alone == 10**9 + task.clip_bytes
    assert in_shard - alone == task.shard_bytes + workers.KEPT_BYTES > 128 * 2**20


def test_a_build_in_which_nothing_can_be_read_leaves_what_was_there(tmp_path: Path) -> None:
    own_music.table(own_music.tree(tmp_path), *own_music.ROWS)
    before = build("folder", tmp_path, workers=1, out=tmp_path)
    for name in ("a.wav", "b.wav", "sub/c.wav"):
        (tmp_path / name).write_bytes(b"no music")
    with pytest.raises(DatasetError, match=r"^none of the clips could be read \(undecodable 3\), so nothing"):
        build("folder", tmp_path, workers=1, out=tmp_path)
    (file,) = (tmp_path / "datasets" / "folder").glob("card.json")
    assert parse(file.read_bytes(), file) == before


def test_a_worker_that_cannot_start_says_why_and_leaves_nothing_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a script without `if __name__ == "__main__"`."""

    def refuses(process: object) -> None:
        raise RuntimeError("before the current process has finished its bootstrapping phase")

    monkeypatch.setattr(SPAWN.Process, "start", refuses)
    bench = Bench(60.0)
    with pytest.raises(RuntimeError, match="bootstrapping phase"):
        bench.begin(Job(None))  # type: ignore[arg-type]
    assert bench.pipe.closed
    bench.end()


def test_a_package_that_is_missing_is_one_line_and_not_a_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(workers, "NEEDED", ("soundfiles",))
    assert main(["name=mtat", f"source={tree(tmp_path / 'source', 'hang')}", f"out={tmp_path}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{sys.executable} can't read audio (No module named 'soundfiles'); begin the command with `uv run`, "
        "whose Python can"
    )


def test_a_worker_is_deaf_to_ctrl_c_from_its_first_moment() -> None:
    """Else it tells its own trace where Ctrl-C comes before it has come to ignoring it."""
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    bench = Bench(60.0)
    bench._start()
    try:
        assert bench.process is not None
        status = Path(f"/proc/{bench.process.pid}/status").read_text().splitlines()
    finally:
        bench.end()
    blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk:"))
    assert blocked >> (signal.SIGINT - 1) & 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == heard, "the driver hears it as before"
