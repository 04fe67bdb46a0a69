"""The store on disk: a damaged or foreign file is refused by name, whatever is wrong with it."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mtat_tree import Clip, music, write_tree

import datasets
from datasets import store
from datasets.build import build
from datasets.whole import written_whole


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a small mtat of 70 clips, hence two shards; WAVEZOO_HOME points at it."""
    clips = [Clip(1_000 + i, f"0/{i}.mp3", audio=music(2_000, i)) for i in range(70)]
    build("mtat", write_tree(tmp_path / "source", clips), workers=1, out=tmp_path)
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    return tmp_path


def file_of(home: Path, name: str) -> Path:
    (file,) = (home / "datasets" / "mtat").rglob(name)
    return file


def refusal_of_opening() -> str:
    with pytest.raises(datasets.DatasetError) as refusal:
        datasets.open("mtat", segment_samples=1_000)
    return str(refusal.value)


@pytest.mark.parametrize("name", ["00000.arrow", "00001.arrow", "index.arrow"])
def test_a_truncated_file_is_refused_by_name(home: Path, name: str) -> None:
    file = file_of(home, name)
    size = file.stat().st_size
    os.truncate(file, size - 1)
    assert refusal_of_opening() == (
        f"{file} has {size - 1} bytes, {size} were written; build again to make it anew"
    )


@pytest.mark.parametrize("name", ["00000.arrow", "index.arrow"])
def test_a_missing_file_is_refused_by_name(home: Path, name: str) -> None:
    file = file_of(home, name)
    file.unlink()
    assert refusal_of_opening() == f"{file} is missing from the store; build again to make it anew"


@pytest.mark.parametrize("name", ["00000.arrow", "index.arrow"])
def test_a_file_that_is_not_arrow_is_refused_by_name(home: Path, name: str) -> None:
    file = file_of(home, name)
    file.write_bytes(bytes(file.stat().st_size))
    assert refusal_of_opening() == f"{file} is not a whole Arrow file; build again to make it anew"


@pytest.mark.parametrize("name", ["00000.arrow", "index.arrow"])
def test_a_file_with_arrow_ends_and_nothing_inside_is_refused_by_name(home: Path, name: str) -> None:
    file = file_of(home, name)
    file.write_bytes(b"ARROW1\0\0" + bytes(file.stat().st_size - 14) + b"ARROW1")
    assert refusal_of_opening().startswith(f"{file} can't be read as Arrow (")


@pytest.mark.parametrize("name", ["00001.arrow", "index.arrow"])
def test_a_file_of_another_build_is_refused_by_name(home: Path, name: str) -> None:
    file = file_of(home, name)
    with pa.memory_map(str(file)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    foreign = batch.replace_schema_metadata({**batch.schema.metadata, b"plan": b"0123456789abcdef"})
    # Beside and renamed: a mapped file must not be written into.
    other = file.with_name("other")
    with pa.OSFile(str(other), "wb") as sink, pa.ipc.new_file(sink, foreign.schema) as writer:
        writer.write_batch(foreign)
    other.rename(file)
    wanted = datasets.card("mtat").plan_id
    assert refusal_of_opening() == (
        f"{file} belongs to another build (plan 0123456789abcdef, wanted {wanted}); build again"
    )


def test_building_again_mends_a_damaged_store(home: Path) -> None:
    card = datasets.card("mtat")
    os.truncate(file_of(home, "00001.arrow"), 100)
    build("mtat", home / "source", workers=1, out=home)
    assert datasets.card("mtat") == card
    assert datasets.open("mtat", segment_samples=1_000).n_clips == 70


def test_a_damaged_card_is_refused_by_name(home: Path) -> None:
    file = file_of(home, "card.json")
    for content in (b'{"name": "mtat"', b'{"name": "mt\xffat"}'):
        file.write_bytes(content)
        with pytest.raises(
            datasets.DatasetError, match=r"card\.json is not the card of a data set \(.*\); build it"
        ):
            datasets.card("mtat")


def test_an_index_whose_card_is_of_another_build_is_refused(home: Path) -> None:
    """As where a build of the same clips with other tags was killed between the two."""
    file = file_of(home, "index.arrow")
    content = bytearray(file.read_bytes())
    at = content.index(datasets.card("mtat").tags[0].encode())
    content[at] ^= 1
    file.write_bytes(content)
    assert refusal_of_opening() == (
        f"{file} is not the index that its card tells of: a build goes on there, or was stopped at its "
        "end; build it again"
    )


def test_a_store_of_another_release_is_not_taken_for_built(home: Path) -> None:
    file = file_of(home, "card.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": "0"}))
    assert not datasets.is_built("mtat")
    with pytest.raises(
        datasets.DatasetError, match="was built by another release; build it again: python -m"
    ):
        datasets.card("mtat")


def test_the_unit_of_the_samples_stands_in_the_schema(home: Path) -> None:
    with pa.memory_map(str(file_of(home, "00000.arrow"))) as source:
        schema = pa.ipc.open_file(source).schema
    assert schema.field("samples").type == pa.large_list(pa.int16())
    assert schema.field("samples").metadata == {b"unit": b"1/32768 of full scale"}


def test_samples_are_views_on_the_file_and_no_file_stays_open(home: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a listing of what is open, not of files
    shard = store.read_shard(file_of(home, "00000.arrow"), datasets.card("mtat").plan_id)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not shard.values.flags.owndata
    assert not shard.values.flags.writeable
    expected = np.rint(music(2_000, 0) * 32768).astype(np.int16)
    assert np.array_equal(shard.values[shard.offsets[0] : shard.offsets[1]], expected)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text("old")

    def write_half() -> None:
        with written_whole(file) as part:
            part.write_text("ne")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert file.read_text() == "old"
    with written_whole(file) as part:
        part.write_text("new")
    assert file.read_text() == "new"


def test_two_writers_of_one_process_never_share_what_is_half_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with written_whole(file) as first, written_whole(file) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("links", [True, False])
def test_what_another_wrote_meanwhile_stays_where_the_first_one_counts(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise PermissionError("Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    file, alone = tmp_path / "file", tmp_path / "alone"
    with written_whole(file, first=True) as late, written_whole(alone, first=True) as part:
        late.write_text("late")
        part.write_text("alone")
        file.write_text("first")
    assert (file.read_text(), alone.read_text()) == ("first", "alone")
    assert sorted(tmp_path.iterdir()) == [alone, file]
