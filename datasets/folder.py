"""folder: your own music, any tree of wav, flac, mp3, m4a, ogg, aiff and the like with a CSV that says what is on it.

    python -m datasets.build name=folder source=/my/music csv=/my/tags.csv called=mymusic

The CSV (UTF-8) has a line of column names, then one row a clip, separated by commas, semicolons or tabs:
    path    where the file lies below source, such as jazz/song.flac; links are followed, a backslash is
            taken for / where only that is found, and an absolute path is taken where it leads below source
    tags    separated by ; or | (or by commas, where no cell has either), as many as hold, none too; what differs in
            case alone is one tag, in its most frequent spelling
    split   (may be left out) train, valid or test
    artist  (may be left out) who plays
    rate    (may be left out) Hz of the file; only compared with what the file has
Its problems are all told at once, with their lines. The tags are stored in alphabetical order.

Without a split column, clips are split by artist, 12 : 1 : 3, nobody being on two sides: convention `artist`.
Who is where follows from the names and their numbers of clips alone; a clip without an artist is an artist of
its own. With the column, the convention is `given`. Of each clip the first 30 seconds are stored (seconds=).
A clip is known by its path and size: one replaced by another of the same size to the byte is not noticed.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.audio import decode
from datasets.errors import DatasetError, nearest
from datasets.folder_files import Row, Table, read_table
from datasets.folder_paths import look_for
from datasets.folder_tags import spellings
from datasets.recipe import SPLITS, Plan, PlannedClip, Recipe, Skipped, store_name

SHARES = {"train": 12, "valid": 1, "test": 3}
WAYS, MISSING = ("auto", "given", "artist"), ("refuse", "skip")
USUAL = {"split": "auto", "seconds": "30", "missing": "refuse"}
LONGEST_SECONDS = 3600
# Longer clips make shards of fewer of them: a worker holds one shard, up to 128 MB of int16.
SHARD_SAMPLES = 64_000_000


def plan(
    source: Path | None,
    rate_hz: int,
    csv: str = "",
    called: str = "folder",
    split: str = USUAL["split"],
    seconds: str = USUAL["seconds"],
    missing: str = USUAL["missing"],
) -> Plan:
    """Which clips there are, how they are tagged and split; see the head of this file.

    raises: DatasetError for a word, the CSV (all its problems, by line), or files that aren't there.
    """
    for key, value, known in (("split", split, WAYS), ("missing", missing, MISSING)):
        if value not in known:
            raise DatasetError(f"{key}={value}: {nearest(value, known)}")
    called, clip_seconds = store_name(called, DATASET.name), _seconds(seconds)
    clip_samples = round(clip_seconds * rate_hz)
    chosen = {"split": split, "seconds": f"{clip_seconds:.12g}", "missing": missing}
    source = _source(source)
    file = Path(csv).expanduser().absolute() if csv else source / "tags.csv"
    table = read_table(file, source)
    convention, notes = _convention(table, split), list(_oddities(table))
    there = look_for(source, table, missing)
    rows, sizes = there.rows, there.sizes
    notes += there.remarks
    splits = _by_artist(rows) if convention == "artist" else {row.path: row.split for row in rows}
    listed = Counter(splits.values())
    if empty := [name for name in SPLITS if not listed[name]]:
        raise DatasetError(f"{file}: no clip is in {' and '.join(empty)}; a split column has all three in it")
    notes += _split_notes(rows, splits, convention)
    kept = [row for row in rows if sizes[row.path]]
    artists = spellings(row.artist for row in rows if row.artist)
    return Plan(
        name=DATASET.name,
        version=DATASET.version,
        source=str(source),
        sample_rate_hz=rate_hz,
        clip_samples=clip_samples,
        segmented_samples=None,
        tags=(tags := _vocabulary(rows, file)),
        labels=_labels(kept, tags),
        clips=tuple(
            PlannedClip(
                row.path,
                row.path,
                sizes[row.path] or 0,
                {convention: splits[row.path]},
                artists.get(row.artist),
            )
            for row in kept
        ),
        conventions=(convention,),
        read=read_clip,
        listed={convention: {name: listed[name] for name in SPLITS}},
        skipped=tuple(_skipped(row.path, sizes[row.path]) for row in rows if not sizes[row.path]),
        notes=tuple(notes),
        clips_per_shard=min(64, max(1, SHARD_SAMPLES // clip_samples)),
        called="" if called == DATASET.name else called,
        words={key: value for key, value in chosen.items() if value != USUAL[key]},
    )


def read_clip(source: str, clip: PlannedClip, rate_hz: int, max_seconds: float) -> np.ndarray:
    """Decode one file; see datasets.audio.decode."""
    return decode(Path(source) / clip.path, rate_hz, max_seconds)


def split_by_artist(clips: Mapping[str, int]) -> dict[str, str]:
    """Split of each artist, given how many clips each has; sizes near SHARES, nobody on two sides.

    A function of names and numbers alone, whatever the order. With three artists or more no split is empty.
    raises: DatasetError for fewer.
    """
    if len(clips) < len(SPLITS):
        raise DatasetError(
            f"{len(clips)} artist{'s' * (len(clips) != 1)}: three splits need three; add a column split or artist"
        )
    total = sum(clips.values())
    need = {name: total * share / sum(SHARES.values()) for name, share in SHARES.items()}
    order = sorted(clips, key=lambda artist: hashlib.sha256(artist.encode()).digest())
    splits = {}
    for artist in order:
        # Where there is room, and of those where most is lacking for its size; so no side is off by more than
        # one artist's clips.
        roomy = [name for name in SPLITS if clips[artist] <= need[name]]
        side = (
            max(roomy, key=lambda name: need[name] / SHARES[name])
            if roomy
            else max(SPLITS, key=need.__getitem__)
        )
        splits[artist] = side
        need[side] -= clips[artist]
    for name in SPLITS:
        if name not in splits.values():
            sides = Counter(splits.values())
            spare = [artist for artist in order if sides[splits[artist]] > 1]
            splits[min(spare, key=lambda artist: clips[artist])] = name
    return splits


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= LONGEST_SECONDS:
        raise DatasetError(f"seconds={text}: give how much of a clip is stored, 0.1 to {LONGEST_SECONDS}")
    return seconds


def _source(source: Path | None) -> Path:
    if source is None:
        raise DatasetError(f"your own music is read from its files: {DATASET.command}")
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise DatasetError(f"source={source} is no folder; give the one that the paths of the CSV start from")
    return source


def _convention(table: Table, way: str) -> str:
    if way == "given" and "split" not in table.columns:
        raise DatasetError(f"{table.problems.file} line 1: split=given, but there is no column split")
    return "given" if way != "artist" and "split" in table.columns else "artist"


def _artist_key(row: Row) -> str:
    """What stands for the artist: spelled alike if only case differs; a clip without one is its own."""
    return f"artist {row.artist.casefold()}" if row.artist else f"path {row.path}"


def _by_artist(rows: Sequence[Row]) -> dict[str, str]:
    """Split of each path."""
    splits = split_by_artist(Counter(map(_artist_key, rows)))
    return {row.path: splits[_artist_key(row)] for row in rows}


def _vocabulary(rows: Iterable[Row], file: Path) -> tuple[str, ...]:
    tags = tuple(sorted({tag for row in rows for tag in row.tags}))
    if not tags:
        raise DatasetError(f"{file}: no clip has a tag; there is nothing to learn")
    return tags


def _labels(rows: Sequence[Row], tags: Sequence[str]) -> np.ndarray:
    column = {tag: number for number, tag in enumerate(tags)}
    labels = np.zeros((len(rows), len(tags)), np.uint8)
    for number, row in enumerate(rows):
        labels[number, [column[tag] for tag in row.tags]] = 1
    return labels


def _skipped(path: str, size: int | None) -> Skipped:
    if size is None:
        return Skipped(path, path, "missing", "there is no such file")
    return Skipped(path, path, "empty", "the file has no bytes")


def _oddities(table: Table) -> Iterator[str]:
    """What is no mistake, but perhaps not meant."""
    file = table.problems.file
    if table.ignored:
        yield f"{file}: not read: the column {' and the column '.join(table.ignored)}"
    yield from table.remarks


def _split_notes(rows: Sequence[Row], splits: Mapping[str, str], convention: str) -> Iterator[str]:
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(_artist_key(row), set()).add(splits[row.path])
    nameless = sum(not row.artist for row in rows)
    if convention == "artist":
        own = f" ({nameless:,} of them clips that name none)" if nameless else ""
        yield f"split by artist: {len(sides):,} artists{own}, none on two sides"
        return
    crossing = Counter(
        "+".join(s for s in SPLITS if s in where) for where in sides.values() if len(where) > 1
    )
    if crossing:
        named = ", ".join(f"{where} {count:,}" for where, count in sorted(crossing.items()))
        yield (
            f"{sum(crossing.values()):,} of {len(sides) - nameless:,} artists are on more than one side ({named}): "
            "scores will be better than on unknown artists; split=artist splits anew"
        )


DATASET = Recipe(
    name="folder",
    version="2",
    rate_hz=22_050,
    licence="that of your own files",
    citation="",
    plan=plan,
    words={
        "csv": "columns path, tags and, if you like, split, artist, rate; default: tags.csv in source",
        "called": "name of the store, as datasets.open and dataset= take it; default: folder",
        "split": "given (by the column split), artist, or auto: given if there is such a column",
        "seconds": "how much of a clip is stored; default: 30",
        "missing": "refuse, or skip the rows whose file isn't there; default: refuse",
    },
    example="source=FOLDER csv=FILE",
)
