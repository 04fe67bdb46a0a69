"""Zip parts: read as one, unpacked safely, and never half of it taken for whole."""

import errno
import io
import os
import stat
import zipfile
import zlib
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtat_tree import Clip, mp3, music, write_tree

from datasets import archive, mtat_parts
from datasets.archive import Parts, find_parts, unpack
from datasets.build import build, main
from datasets.errors import DatasetError
from datasets.lock import only_one

CONTENT = {"0/a.mp3": b"abc" * 500, "c/b.mp3": b"", "f/deep/c.mp3": bytes(range(256)) * 20}


def packed(content: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    """A zip of these files in this order; `change` sees each entry before it is written."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            made.writestr(info, data)
    return file.getvalue()


def in_parts(folder: Path, content: bytes, n_parts: int = 3) -> list[Path]:
    folder.mkdir(exist_ok=True)
    size = -(-len(content) // n_parts)
    for number in range(n_parts):
        (folder / f"mp3.zip.{number + 1:03d}").write_bytes(content[number * size : (number + 1) * size])
    return find_parts(folder, "mp3.zip")


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(files: list[Path], target: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        unpack(files, target)
    assert not target.exists()
    return str(refused.value)


def refusal_of(tmp_path: Path, content: bytes) -> str:
    """What is said of a zip in one part, without its name."""
    (file,) = in_parts(tmp_path / "source", content, 1)
    return refusal([file], tmp_path / "target").removeprefix(f"{file}: ")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
@settings(derandomize=True, deadline=None, max_examples=60)
def test_parts_read_and_seek_as_the_joined_file_does(
    tmp_path_factory: pytest.TempPathFactory, pieces, data
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    files = [folder / str(number) for number in range(len(pieces))]
    for file, piece in zip(files, pieces, strict=True):
        file.write_bytes(piece)
    joined = io.BytesIO(b"".join(pieces))
    with Parts(files) as parts, io.BufferedReader(parts, 7) as buffered:
        for _ in range(10):
            whence = data.draw(st.sampled_from([io.SEEK_SET, io.SEEK_END]))
            size, span = data.draw(st.integers(0, 50)), len(joined.getvalue())
            offset = data.draw(st.integers(0, span) if whence == io.SEEK_SET else st.integers(-span, 0))
            assert buffered.seek(offset, whence) == joined.seek(offset, whence)
            assert buffered.read(size) == joined.read(size)
            assert buffered.tell() == joined.tell()


def test_no_one_seeks_before_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with (
        Parts([tmp_path / "a"]) as parts,
        pytest.raises(ValueError, match="seek to -1: before the beginning"),
    ):
        parts.seek(-4, io.SEEK_END)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_parts_are_unpacked_without_being_joined_on_disk(tmp_path: Path, n_parts: int) -> None:
    files = in_parts(tmp_path, packed(CONTENT), n_parts)
    unpack(files, tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == CONTENT
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == [".mp3.unpacking", "mp3", *(file.name for file in files)]


def test_folders_inside_the_zip_are_no_files(tmp_path: Path) -> None:
    unpack(in_parts(tmp_path, packed({"0/": b"", **CONTENT})), tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == CONTENT


def test_a_folder_that_is_there_is_not_unpacked_again(tmp_path: Path) -> None:
    (tmp_path / "mp3").mkdir()
    unpack(in_parts(tmp_path, b"no zip at all"), tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == {}


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up.mp3",
        "0/../../up.mp3",
        "C:/up.mp3",
        "c:up.mp3",
        "0\\..\\up.mp3",
        "0//a.mp3",
        "./a",
    ],
)
def test_no_entry_leaves_the_folder(tmp_path: Path, name: str) -> None:
    said = refusal_of(tmp_path, packed({**CONTENT, name: b"x"}))
    assert (
        said
        == f"entry {name!r} would lie outside of its folder or has no plain path; nothing of it was unpacked"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == [".target.unpacking", "source"]


def links(info: zipfile.ZipInfo) -> None:
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def devices(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFCHR | 0o600) << 16


@pytest.mark.parametrize("change", [links, devices])
def test_links_and_devices_are_refused(tmp_path: Path, change: Callable[[zipfile.ZipInfo], None]) -> None:
    said = refusal_of(tmp_path, packed({"0/a.mp3": b"/etc"}, change))
    assert said == "entry '0/a.mp3' is a link or some other special file; nothing of it was unpacked"


def test_a_name_that_goes_on_behind_a_zero_is_refused(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, packed({"0/aXmp3": b"x"}).replace(b"0/aXmp3", b"0/a\0mp3"))
    assert said == "entry '0/a\\x00mp3' has a control character in its name; nothing of it was unpacked"


def test_encrypted_entries_and_unknown_methods_are_refused(tmp_path: Path) -> None:
    content = bytearray(packed({"0/a.mp3": b"x"}))
    entry = content.index(b"PK\1\2")
    content[entry + 8] |= 1
    assert refusal_of(tmp_path, bytes(content)) == "entry '0/a.mp3' is encrypted; nothing of it was unpacked"
    content[entry + 8] &= ~1
    content[entry + 10] = 99
    said = "entry '0/a.mp3' is compressed by method 99, which isn't read here; nothing of it was unpacked"
    assert refusal_of(tmp_path, bytes(content)) == said


@pytest.mark.parametrize("other", ["0/a.mp3", "0/A.mp3"])
def test_two_entries_that_would_be_one_file_are_refused(tmp_path: Path, other: str) -> None:
    content = packed({"0/a.mp3": b"x", "0/b.mp3": b"y"}).replace(b"0/b.mp3", other.encode())
    assert refusal_of(tmp_path, content) == f"entries '0/a.mp3' and '{other}' would be one file"


def test_an_entry_that_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, packed({"0": b"x", "0/a.mp3": b"y"}))
    assert said == "entry '0' is both a file and a folder"


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 100_000)
    said = refusal_of(tmp_path, packed({f"0/{number}.mp3": bytes(60_000) for number in range(2)}))
    assert said == "unpacks to 120,000 bytes; at most 100,000 are unpacked"
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    assert refusal_of(tmp_path, packed(CONTENT)) == "3 entries; at most 2 are unpacked"


def test_an_entry_that_has_more_than_it_declares_is_refused_and_writes_no_more(tmp_path: Path) -> None:
    content = packed({"0/a.mp3": bytes(5_000_000)})
    # Both places where a zip keeps the length.
    lying = content.replace((5_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    (file,) = in_parts(tmp_path / "source", lying, 1)
    said = refusal([file], tmp_path / "target")
    assert said == (
        f"{file}: 0/a.mp3 is damaged (Bad CRC-32 for file '0/a.mp3'); delete it, get it again, and type the same"
    )


def test_a_damaged_byte_names_the_entry_and_its_part_and_the_right_part_heals_it(tmp_path: Path) -> None:
    clips = {f"0/{number}.mp3": os.urandom(3_000) for number in range(9)}
    content = packed(clips)
    files = in_parts(tmp_path, content)
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:])
    said = refusal(files, tmp_path / "mp3")
    assert said.startswith(f"{files[1]}: 0/")
    assert "is damaged (" in said
    assert said.endswith("); delete it, get it again, and type the same")
    (half,) = tmp_path.glob("mp3.*.part")
    assert half.is_dir()
    files[1].write_bytes(whole)
    unpack(files, tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == clips
    assert not half.exists()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_parts_that_are_cut_short_are_refused(tmp_path: Path, keep: float) -> None:
    files = in_parts(tmp_path, packed(CONTENT))
    os.truncate(files[2], round(files[2].stat().st_size * keep))
    said = refusal(files, tmp_path / "mp3")
    assert said.startswith(
        f"{files[0]} to mp3.zip.003: no whole zip (File is not a zip file); is a part missing or"
    )


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    files = in_parts(tmp_path, packed(CONTENT))
    files[1].unlink()
    with pytest.raises(DatasetError) as refused:
        find_parts(tmp_path, "mp3.zip")
    assert str(refused.value) == f"{tmp_path} has mp3.zip.001, mp3.zip.003, but no mp3.zip.002"


def test_an_interruption_leaves_a_half_that_the_next_attempt_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = in_parts(tmp_path, packed(CONTENT))
    whole, written = archive._write, []

    def interrupted(*words: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(words)
        whole(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(files, tmp_path / "mp3")
    (half,) = tmp_path.glob("mp3.*.part")
    assert not (tmp_path / "mp3").exists()
    (half / "0" / "a.mp3").write_bytes(bytes(len(CONTENT["0/a.mp3"])))  # as after a power cut
    kept = (half / "c" / "b.mp3").stat().st_ino
    monkeypatch.setattr(archive, "_write", whole)
    unpack(files, tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == CONTENT
    assert (tmp_path / "mp3" / "c" / "b.mp3").stat().st_ino == kept


def test_a_half_of_another_zip_is_not_mixed_in(tmp_path: Path) -> None:
    half = tmp_path / "mp3.01234567.part"
    half.mkdir()
    (half / "foreign.mp3").write_bytes(b"x")
    unpack(in_parts(tmp_path, packed(CONTENT)), tmp_path / "mp3")
    assert tree_of(tmp_path / "mp3") == CONTENT
    assert not half.exists()


def test_a_full_disk_is_one_clear_line_before_and_while_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = in_parts(tmp_path, packed({"0/a.mp3": bytes(7_000_000), "1/b.mp3": b""}))
    usage = namedtuple("usage", "total used free")
    words = "about 7 MB are still to be unpacked; free so much and type the same again, it goes on"
    with monkeypatch.context() as patched:
        patched.setattr(archive.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1_000))
        assert refusal(files, tmp_path / "mp3").endswith(words)

    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfileobj", full)
    said = refusal(files, tmp_path / "mp3")
    assert said.startswith(f"no space left for {tmp_path}/mp3.")
    assert "unpacked; free so much and type the same again, it goes on" in said


def test_other_errors_of_the_disk_pass_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    files = in_parts(tmp_path, packed(CONTENT))
    monkeypatch.setattr(archive.shutil, "copyfileobj", broken)
    with pytest.raises(OSError, match="Input/output error"):
        unpack(files, tmp_path / "mp3")
    assert not (tmp_path / "mp3").exists()


def test_of_two_that_unpack_at_once_the_second_is_refused(tmp_path: Path) -> None:
    files = in_parts(tmp_path, packed(CONTENT))
    with only_one(tmp_path / ".mp3.unpacking", "taken"):
        assert (
            refusal(files, tmp_path / "mp3")
            == f"another process is unpacking into {tmp_path}/mp3; wait for it"
        )


def magnatagatune(folder: Path, prefix: str = "") -> Path:
    """Annotations of three clips, which lie in zip parts."""
    paths = ("0/a.mp3", "c/b.mp3", "f/c.mp3")
    write_tree(folder, [Clip(number + 2, path) for number, path in enumerate(paths)])
    (folder / "mp3").rename(folder / "gone") if (folder / "mp3").exists() else None
    content = {f"{prefix}{path}": mp3(music(16_000, seed)) for seed, path in enumerate(paths)}
    in_parts(folder, packed(content))
    return folder


@pytest.mark.parametrize("prefix", ["", "mp3/"])
def test_mtat_is_built_from_its_zip_parts(tmp_path: Path, prefix: str) -> None:
    source = magnatagatune(tmp_path / "source", prefix)
    card = build("mtat", source, workers=1, out=tmp_path)
    assert (card.clips, card.skipped) == (3, {})
    assert build("mtat", source, workers=1, out=tmp_path) == card
    assert zlib.crc32((source / "mp3" / prefix / "0" / "a.mp3").read_bytes()) == zlib.crc32(
        mp3(music(16_000, 0))
    )


def test_where_the_source_is_read_only_the_clips_are_unpacked_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    source = magnatagatune(tmp_path / "source")
    monkeypatch.setattr(mtat_parts.os, "access", lambda place, _: not Path(place).is_relative_to(source))
    card = build("mtat", source, workers=1)
    assert card.clips == 3
    assert not (source / "mp3").exists()
    assert len(list((tmp_path / "home" / "sources" / "mtat").glob("mp3-????????/0/a.mp3"))) == 1


def test_a_damaged_part_ends_the_build_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = magnatagatune(tmp_path / "source")
    (source / "mp3.zip.003").unlink()
    assert main(["name=mtat", f"source={source}", f"out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"{source}/mp3.zip.001 to mp3.zip.002: no whole zip (File is not a zip file); is a part"
    )
    assert said.count("\n") == 1
