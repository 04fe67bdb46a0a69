"""The two lists that come with MagnaTagATune: tab separated, every field quoted, CRLF, ASCII."""

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from datasets.errors import DatasetError

CLIP_INFO = "clip_info_final.csv"
CLIP_PATH = re.compile(r"[0-9a-f]/[^/]+\.mp3")


@dataclass(frozen=True, eq=False)
class Annotations:
    """annotations_final.csv.

    sha256:  of the uncompressed file.
    tags:    all tags, in the order of the columns.
    matrix:  (clips, tags) uint8.
    """

    file: Path
    sha256: str
    clip_ids: tuple[str, ...]
    paths: tuple[str, ...]
    tags: tuple[str, ...]
    matrix: np.ndarray

    def labels(self, vocabulary: Sequence[str]) -> np.ndarray:
        """(clips, len(vocabulary)) uint8; tags are found by name. DatasetError names those that lack."""
        lacking = [tag for tag in vocabulary if tag not in self.tags]
        if lacking:
            raise DatasetError(f"{self.file} has no column for {', '.join(lacking)}; is it the original?")
        return self.matrix[:, [self.tags.index(tag) for tag in vocabulary]]

    def most_counted(self, n: int) -> tuple[str, ...]:
        """The n most frequent tags, ties in the order of the columns."""
        order = np.argsort(-self.matrix.sum(axis=0, dtype=np.int64), kind="stable")
        return tuple(self.tags[column] for column in order[:n])


def read_annotations(folder: Path) -> Annotations:
    """annotations_final.csv of a folder, or its .gz; DatasetError naming file and line if it is malformed."""
    file = _find(folder, "annotations_final.csv")
    if file is None:
        raise DatasetError(f"{folder} has no annotations_final.csv (or .csv.gz); give the folder that has it")
    content = _content(file)
    header, *rows = _rows(content, file)
    if len(header) < 3 or header[0] != "clip_id" or header[-1] != "mp3_path":
        raise DatasetError(
            f"{file} line 1: wanted the columns clip_id, the tags, mp3_path; found {header[:2]}"
        )
    for line, row in enumerate(rows, start=2):
        _check_row(row, len(header), f"{file} line {line}")
    clip_ids = tuple(row[0] for row in rows)
    if len(set(clip_ids)) != len(rows):
        raise DatasetError(f"{file}: a clip_id stands in two rows; each clip has one")
    marks = "".join("".join(row[1:-1]) for row in rows).encode()
    matrix = (np.frombuffer(marks, np.uint8) - ord("0")).reshape(len(rows), len(header) - 2)
    digest = hashlib.sha256(content).hexdigest()
    return Annotations(file, digest, clip_ids, tuple(row[-1] for row in rows), tuple(header[1:-1]), matrix)


@dataclass(frozen=True)
class ClipInfo:
    """What clip_info_final.csv says of a clip.

    recording: the same for the same seconds of the same piece, also where an album and a sampler hold it both.
    """

    artist: str
    recording: str


def read_clip_info(folder: Path) -> dict[str, ClipInfo]:
    """What is known of the clips by clip id, from clip_info_final.csv or its .gz; empty if the folder has neither."""
    file = _find(folder, CLIP_INFO)
    if file is None:
        return {}
    header, *rows = _rows(_content(file), file)
    wanted = ("clip_id", "artist", "original_url", "segmentStart")
    if lacking := [name for name in wanted if name not in header]:
        raise DatasetError(f"{file} line 1: no column {' and no column '.join(lacking)}; is it the original?")
    key, artist, url, start = (header.index(name) for name in wanted)
    return {
        row[key]: ClipInfo(row[artist], recording_of(row[url], row[start]))
        for row in rows
        if len(row) == len(header)
    }


def recording_of(original_url: str, start_s: str) -> str:
    """The piece and the second from which a clip is cut; empty where the address names no piece.

    Albums repeat tracks of other albums under another number, spelling and artist ("Various Artists"), so a piece is
    known by the letters of its title alone, the second part of ".../05-Title-Artist.mp3". Two pieces of one title
    count as one: rather a few clips too many are left out than one too few.
    """
    name = unquote(original_url.rpartition("/")[2]).removesuffix(".mp3")
    parts = [letters for part in re.split("-+", name) if (letters := re.sub("[^a-z0-9]", "", part.lower()))]
    return f"{parts[min(1, len(parts) - 1)]}@{start_s}" if parts else ""


def _check_row(row: list[str], n_columns: int, where: str) -> None:
    if len(row) != n_columns:
        raise DatasetError(f"{where}: {len(row)} columns, the first line has {n_columns}")
    if not set(row[1:-1]) <= {"0", "1"}:
        strange = next(mark for mark in row[1:-1] if mark not in ("0", "1"))
        raise DatasetError(f"{where}: a tag is marked {strange!r}; wanted 0 or 1")
    if not CLIP_PATH.fullmatch(row[-1]):
        raise DatasetError(f"{where}: path {row[-1]!r}; wanted a folder 0 to f and a name, like f/name.mp3")


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((file for file in candidates if file.is_file()), None)


def _content(file: Path) -> bytes:
    try:
        return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise DatasetError(f"{file} can't be read: {problem}") from problem


def _rows(content: bytes, file: Path) -> list[list[str]]:
    try:
        rows = list(csv.reader(content.decode("utf-8").splitlines(), delimiter="\t"))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(f"{file} is no tab separated text: {problem}") from problem
    if len(rows) < 2:
        raise DatasetError(f"{file} has no rows; is it whole?")
    return rows
