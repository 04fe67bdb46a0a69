"""A zip in parts, unpacked so that nothing leaves its folder and no half of it is taken for whole."""

import bisect
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import IO

from datasets.errors import DatasetError
from datasets.lock import only_one
from datasets.progress import progress

MOST_FILES, MOST_BYTES = 100_000, 16 * 2**30
BLOCK_BYTES = 1 << 20
DRIVE = re.compile(r"[A-Za-z]:")
READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# All that zipfile raises for bytes that are not what they should be.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class Parts(io.RawIOBase):
    """Files one after another, read as one; nothing is joined on disk, one file is open at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._ends = list(accumulate(file.stat().st_size for file in files))
        self._at = 0
        self._open: tuple[int, IO[bytes]] | None = None

    def parts_of(self, entry: zipfile.ZipInfo) -> str:
        """The files that an entry of the zip lies in, in words."""
        first, last = (
            min(bisect.bisect_right(self._ends, position), len(self.files) - 1)
            for position in (entry.header_offset, entry.header_offset + entry.compress_size)
        )
        return " or ".join(map(str, self.files[first : last + 1]))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}: before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def] # any writable buffer
        number = bisect.bisect_right(self._ends, self._at)
        if number == len(self.files):
            return 0
        if self._open is None or self._open[0] != number:
            self._close_part()
            self._open = (number, self.files[number].open("rb", buffering=0))
        start = self._ends[number - 1] if number else 0
        self._open[1].seek(self._at - start)
        # What the next part has is read by the next call.
        room = memoryview(buffer)[: self._ends[number] - self._at]
        n_bytes: int = self._open[1].readinto(room)  # type: ignore[attr-defined]
        self._at += n_bytes
        return n_bytes

    def close(self) -> None:
        self._close_part()
        super().close()

    def _close_part(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def unpack(files: Sequence[Path], target: Path) -> None:
    """Unpack the zip that the files are together into the folder `target`, unless that is there already.

    The folder gets its name when all of it has been written and every checksum was right; until then it is
    called `target`.ID.part, which the next attempt goes on with, keeping the files that are whole.
    raises: DatasetError naming the entry or the part for anything that is unsafe, damaged or too much, if
            there is no room, or if another process is at it.
    """
    refusal = f"another process is unpacking into {target}; wait for it"
    with only_one(target.with_name(f".{target.name}.unpacking"), refusal):
        if target.is_dir():
            return
        with Parts(files) as parts, _opened(parts) as archive:
            entries = check_entries(archive.infolist(), str(files[0]))
            half = target.with_name(f"{target.name}.{_id(entries)}.part")
            with (
                _explained(half, entries),
                progress(f"unpacking into {target.name}", len(entries), "files") as done,
            ):
                _check_room(half, entries)
                for entry in entries:
                    _write(archive, parts, entry, half / entry.filename)
                    done(1)
        # The name must not reach the disk before the files do.
        os.sync()
        half.rename(target)
        for other in target.parent.glob(f"{target.name}.*.part"):
            shutil.rmtree(other)


def check_entries(infos: Sequence[zipfile.ZipInfo], where: str) -> list[zipfile.ZipInfo]:
    """The files among a zip's entries; DatasetError for the first entry that must not be unpacked."""
    if len(infos) > MOST_FILES:
        raise DatasetError(f"{where}: {len(infos):,} entries; at most {MOST_FILES:,} are unpacked")
    files, taken, folders = [], dict[str, str](), set[str]()
    for info in infos:
        if problem := _unsafe(info):
            raise DatasetError(f"{where}: entry {info.orig_filename!r} {problem}; nothing of it was unpacked")
        path = PurePosixPath(info.filename)
        folders |= {str(parent).casefold() for parent in path.parents}
        if info.is_dir():
            folders.add(str(path).casefold())
            continue
        # Two names that differ in case alone are one file on some systems.
        if other := taken.get(str(path).casefold()):
            raise DatasetError(f"{where}: entries {other!r} and {info.filename!r} would be one file")
        taken[str(path).casefold()] = info.filename
        files.append(info)
    if both := sorted(folders & set(taken)):
        raise DatasetError(f"{where}: entry {taken[both[0]]!r} is both a file and a folder")
    if (n_bytes := sum(info.file_size for info in files)) > MOST_BYTES:
        raise DatasetError(f"{where}: unpacks to {n_bytes:,} bytes; at most {MOST_BYTES:,} are unpacked")
    return files


def _unsafe(info: zipfile.ZipInfo) -> str:
    """What is wrong with an entry's name or kind; empty if nothing is."""
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or DRIVE.match(name) or "\\" in name or {"..", ".", ""} & set(parts):
        return "would lie outside of its folder or has no plain path"
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in name):
        return "has a control character in its name"
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        return "is a link or some other special file"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in READABLE:
        return f"is compressed by method {info.compress_type}, which isn't read here"
    return ""


@contextmanager
def _opened(parts: Parts) -> Iterator[zipfile.ZipFile]:
    names = " to ".join(dict.fromkeys((str(parts.files[0]), parts.files[-1].name)))
    try:
        archive = zipfile.ZipFile(io.BufferedReader(parts, BLOCK_BYTES))
    except DAMAGE as problem:
        raise DatasetError(f"{names}: no whole zip ({problem}); is a part missing or cut short?") from problem
    with archive:
        yield archive


def _write(archive: zipfile.ZipFile, parts: Parts, entry: zipfile.ZipInfo, file: Path) -> None:
    """Unpack one file, unless an earlier attempt has; its length and checksum are those of the zip after it."""
    if _is_whole(file, entry):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(entry) as packed, file.open("wb") as plain:
            # zipfile gives no more than the entry declares, and refuses at its end if the checksum is wrong.
            shutil.copyfileobj(packed, plain, BLOCK_BYTES)
    except DAMAGE as problem:
        file.unlink(missing_ok=True)
        raise DatasetError(
            f"{parts.parts_of(entry)}: {entry.filename} is damaged ({problem}); "
            "delete it, get it again, and type the same"
        ) from problem


def _is_whole(file: Path, entry: zipfile.ZipInfo) -> bool:
    if not file.is_file() or file.stat().st_size != entry.file_size:
        return False
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum == entry.CRC


def _id(entries: Sequence[zipfile.ZipInfo]) -> str:
    """8 hex digits of what will be unpacked, so that two archives never share a half-made folder."""
    text = "\n".join(f"{entry.filename} {entry.file_size} {entry.CRC}" for entry in entries)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _left(half: Path, entries: Sequence[zipfile.ZipInfo]) -> int:
    """Bytes still to be written."""
    return sum(entry.file_size for entry in entries if not (half / entry.filename).is_file())


def _check_room(half: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    half.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(half).free < _left(half, entries):
        raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def _explained(half: Path, entries: Sequence[zipfile.ZipInfo]) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno not in NO_SPACE:
            raise
        raise DatasetError(
            f"no space left for {half}: about {_left(half, entries) / 1e6:,.0f} MB are still to be unpacked; "
            "free so much and type the same again, it goes on"
        ) from problem


def find_parts(folder: Path, name: str) -> list[Path]:
    """`name`, or name.001, name.002, ... in a folder; empty if there is none.

    raises: DatasetError naming the part that is missing between or before the others.
    """
    if (folder / name).is_file():
        return [folder / name]
    numbered = re.compile(rf"{re.escape(name)}\.([0-9]{{3}})")
    found = sorted(file.name for file in folder.iterdir() if numbered.fullmatch(file.name) and file.is_file())
    for number, there in enumerate(found, start=1):
        if there != f"{name}.{number:03d}":
            raise DatasetError(f"{folder} has {', '.join(found)}, but no {name}.{number:03d}")
    return [folder / there for there in found]
