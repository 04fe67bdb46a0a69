"""The Million Song Dataset's public lists, Last.fm's database of tags, and a tree of clips."""

import contextlib
import gzip
import os
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.audio import SUFFIXES
from datasets.errors import DatasetError
from datasets.recipe import SPLITS

TRACK_ID, SHOP_ID = re.compile(r"TR[A-Z]{5}[0-9A-F]{11}"), re.compile(r"[0-9]{2,12}")
# "I only count tag as valid if the ground truth > 50", of 0 to 100: the makers of the lists.
VOTES = 50
SQLITE, NUMPY, ZIP = b"SQLite format 3\0", b"\x93NUMPY", b"PK"


@dataclass(frozen=True, eq=False)
class Lists:
    """A folder of public lists.

    tags:      in the order of the label columns.
    track_ids: MSD track ids by split; shop_ids: 7digital's ids of the same clips, line by line.
    filtered:  by split, the track ids that the paper counts; None where the lists of it aren't there.
    labels:    valid and test, (clips, tags) uint8.
    """

    folder: Path
    tags: tuple[str, ...]
    track_ids: dict[str, list[str]]
    shop_ids: dict[str, list[str]]
    filtered: dict[str, frozenset[str]] | None
    labels: dict[str, np.ndarray]


def read_lists(folder: Path) -> Lists:
    """raises: DatasetError naming the file, and the line where there is one, if anything does not fit."""
    tags = tuple(_lines(_need(folder, "50tagList.txt")))
    if len(set(tags)) != len(tags) or not tags:
        raise DatasetError(
            f"{folder}/50tagList.txt has {len(tags)} lines, {len(set(tags))} of them different tags"
        )
    track_ids = {
        split: _ids(folder, f"{split}_x_msd_id.txt", TRACK_ID, "an MSD track id") for split in SPLITS
    }
    shop_ids = {split: _ids(folder, f"{split}_x_7d_id.txt", SHOP_ID, "a 7digital id") for split in SPLITS}
    for split in SPLITS:
        if len(track_ids[split]) != len(shop_ids[split]):
            raise DatasetError(
                f"{folder}: {len(track_ids[split]):,} lines of {split}_x_msd_id, {len(shop_ids[split]):,} of "
                f"{split}_x_7d_id; they go together line by line"
            )
    _check_once(folder, track_ids)
    labels = {
        split: read_labels(
            _need(folder, f"{split}_y.npz", f"{split}_y.npy"), (len(track_ids[split]), len(tags))
        )
        for split in ("valid", "test")
    }
    return Lists(folder, tags, track_ids, shop_ids, _filtered(folder, track_ids), labels)


def read_labels(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """(clips, tags) uint8 from an .npz or .npy of 0 and 1; never runs anything that the file brings along."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                name = "y" if "y" in loaded.files or len(loaded.files) != 1 else loaded.files[0]
                loaded = loaded[name]
    except KeyError:
        raise DatasetError(f"{file} has no array called y") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        # NumPy's own words on it advise to have them run
        why = "it holds objects of Python, which are never read" if "pickle" in str(problem) else problem
        raise DatasetError(f"{file} can't be read as an array of labels: {why}") from problem
    if loaded.shape != shape:
        raise DatasetError(f"{file} has labels of {loaded.shape}; the lists are for {shape}")
    if loaded.dtype.kind not in "biuf" or not np.isin(loaded, (0, 1)).all():
        raise DatasetError(f"{file} has labels other than 0 and 1")
    return loaded.astype(np.uint8)


def kind_of(file: Path) -> str:
    """ "database" or "array", by how the file begins; DatasetError if it is neither or not there."""
    try:
        with file.open("rb") as stream:
            head = stream.read(len(SQLITE))
    except OSError as problem:
        raise DatasetError(f"labels={file} can't be read: {problem.strerror}") from problem
    if head == SQLITE:
        return "database"
    if head.startswith((NUMPY, ZIP)):
        return "array"
    raise DatasetError(
        f"labels={file} is neither Last.fm's lastfm_tags.db (SQLite) nor an .npz or .npy array"
    )


def read_database(file: Path, tags: Sequence[str], track_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels from Last.fm's tags: those of more than VOTES.

    returns: (clips, tags) uint8, and (clips,) bool: whether the database knows the clip at all.
    raises:  DatasetError if the file is damaged, has other tables, or lacks a tag.
    """
    labels = np.zeros((len(track_ids), len(tags)), np.uint8)
    known = np.zeros(len(track_ids), bool)
    try:
        # Read-only, so that even a journal that somebody left there stays as it is.
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            row_of = _track_rows(database, track_ids)
            column_of = _tag_columns(database, tags, file)
            known[list(row_of.values())] = True
            wanted = ", ".join(map(str, column_of))
            query = f"SELECT tid, tag FROM tid_tag WHERE val > {VOTES} AND tag IN ({wanted})"
            for track, tag in database.execute(query):
                if track in row_of:
                    labels[row_of[track], column_of[tag]] = 1
    except sqlite3.Error as problem:
        raise DatasetError(f"{file} can't be read as Last.fm's tags: {problem}") from problem
    return labels, known


def _track_rows(database: sqlite3.Connection, track_ids: Sequence[str]) -> dict[int, int]:
    number_of = {track: number for number, track in enumerate(track_ids)}
    tracks = database.execute("SELECT rowid, tid FROM tids")
    return {row: number_of[track] for row, track in tracks if track in number_of}


def _tag_columns(database: sqlite3.Connection, tags: Sequence[str], file: Path) -> dict[int, int]:
    asked = f"SELECT rowid, tag FROM tags WHERE tag IN ({', '.join('?' * len(tags))})"
    # SQLite compares text with its capitals, as the lists want it: "House" is not "house".
    found = {tag: row for row, tag in database.execute(asked, tuple(tags))}
    if lacking := [tag for tag in tags if tag not in found]:
        raise DatasetError(
            f"{file} has no tag {', '.join(lacking)} (capitals count); is it Last.fm's for the MSD?"
        )
    return {row: tags.index(tag) for tag, row in found.items()}


def find_clips(
    root: Path, wanted: Collection[str], done: Callable[[int], None]
) -> tuple[dict[str, tuple[str, int]], int]:
    """Path below root and size of each wanted id's file, and how many ids have more than one file.

    A file belongs to the id that its name begins with, up to the first dot, wherever it lies. Of several, the
    one at `<id[0]>/<id[1]>/` is taken, else the first by path. `done` hears of each clip found.
    One walk, which asks the system for the sizes of wanted files only. Links are followed, circles not.
    """
    found: dict[str, tuple[str, int]] = {}
    several = set()
    for path, entry in _files(root):
        name = entry.name.partition(".")[0]
        if name not in wanted or not entry.name.lower().endswith(SUFFIXES):
            continue
        try:
            this = (path, entry.stat().st_size)
        except FileNotFoundError:  # a link to nothing
            continue
        if name in found:
            several.add(name)
            this = min(this, found[name], key=lambda place: (not place[0].startswith(_usual(name)), place))
        else:
            done(1)
        found[name] = this
    return found, len(several)


def usual_path(shop_id: str) -> str:
    """Where a clip lies in the distribution."""
    return f"{_usual(shop_id)}{shop_id}.clip.mp3"


def _usual(name: str) -> str:
    return f"{name[0]}/{name[1]}/"


def _files(root: Path) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """(path below root, entry) of everything that is no folder."""
    todo, seen = [""], set()
    while todo:
        below = todo.pop()
        folder = root / below
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if entry.is_dir():
                    todo.append(f"{path}/")
                else:
                    yield path, entry


def _need(folder: Path, *names: str) -> Path:
    for name in names:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    raise DatasetError(
        f"lists={folder} has no {' or '.join(names)} (.gz is read, too); give the folder of the lists"
    )


def _lines(file: Path) -> list[str]:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return content.decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise DatasetError(f"{file} can't be read: {problem}") from problem


def _ids(folder: Path, name: str, pattern: re.Pattern[str], what: str) -> list[str]:
    file = _need(folder, name)
    ids = _lines(file)
    for line, text in enumerate(ids, start=1):
        if not pattern.fullmatch(text):
            raise DatasetError(f"{file} line {line}: {text!r} is not {what}")
    return ids


def _check_once(folder: Path, track_ids: dict[str, list[str]]) -> None:
    seen: dict[str, str] = {}
    for split, ids in track_ids.items():
        for line, track in enumerate(ids, start=1):
            if track in seen:
                raise DatasetError(
                    f"{folder}/{split}_x_msd_id line {line}: {track} is in {seen[track]} already"
                )
            seen[track] = split


def _filtered(folder: Path, track_ids: dict[str, list[str]]) -> dict[str, frozenset[str]] | None:
    names = {split: f"author_filtered_{split}_msd_id.txt" for split in ("valid", "test")}
    if not any((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in names.values()):
        return None
    filtered = {"train": frozenset(track_ids["train"])}
    for split, name in names.items():
        filtered[split] = frozenset(_ids(folder, name, TRACK_ID, "an MSD track id"))
        if strange := len(filtered[split].difference(track_ids[split])):
            raise DatasetError(f"{folder}/{name} names {strange:,} clips that {split}_x_msd_id does not")
    return filtered
