"""What can go wrong with one clip costs that clip, and what goes wrong with the machine costs nothing built."""

import csv
from dataclasses import replace
from pathlib import Path

import faulty_readers
import pytest
from mtat_tree import Clip, music, write_tree

from datasets import mtat
from datasets.build import build
from datasets.cards import Card
from datasets.errors import DatasetError
from datasets.recipe import Plan

SECONDS = 2  # of which a fresh process on a busy machine may need one to load its decoder
REASONS = {
    "hang": ("hung", "it is not decoded within the time limit"),
    "segfault": ("crashed", "it ends the process that decodes it"),
    "abort": ("crashed", "it ends the process that decodes it"),
    "leave": ("crashed", "it ends the process that decodes it"),
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

    def plan(source: Path | None, rate_hz: int) -> Plan:
        return replace(whole(source, rate_hz), read=faulty_readers.read, clips_per_shard=4)

    whole = mtat.plan
    monkeypatch.setattr(mtat, "DATASET", replace(mtat.DATASET, plan=plan))


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
    assert card.skipped == {"crashed": 4, "hung": 1, "too large": 1, "undecodable": 6}


def test_what_was_given_up_changes_no_byte_between_two_builds(tmp_path: Path) -> None:
    faults = ("odd", "abort", "eat", "hang", "segfault")
    build_it(tree(tmp_path / "source", *faults), tmp_path / "one", workers=1)
    build_it(tree(tmp_path / "moved", *faults), tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_shard_whose_clips_all_crash_is_made_all_the_same(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", "good", "good", "abort", "abort")
    (source / "annotations_final.csv").write_text(
        (source / "annotations_final.csv").read_text().replace("good-abort", "segfault-abort")
    )
    for file in (source / "mp3" / "0").glob("good-abort*"):
        file.rename(file.with_name(file.name.replace("good-abort", "segfault-abort")))
    card = build_it(source, tmp_path)
    assert (card.clips, card.skipped, len(card.shards)) == (4, {"crashed": 4}, 2)


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
