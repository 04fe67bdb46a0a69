"""What `python -m zoo tag` writes: a table for a person, CSV or JSON for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from zoo.tagging import Song
from zoo.trained.tagger import Tagger

__all__ = ["WRITERS"]

# File, where the segment starts (None: all of them), tag, probability
Row = tuple[str, float | None, str, float]


def as_json(songs: Iterable[Song], tagger: Tagger, top: int, timeline: bool) -> Iterator[str]:
    """One array, an object a line: file, tags with the likeliest first, and the timeline where it is asked for."""
    mark = "["
    for song in songs:
        yield f"{mark}\n{json.dumps(_record(song, tagger, top, timeline))}"
        mark = ","
    yield "[]\n" if mark == "[" else "\n]\n"


def _record(song: Song, tagger: Tagger, top: int, timeline: bool) -> Mapping[str, Any]:
    chosen = _likeliest(song, top)
    record: dict[str, Any] = {"file": _name(song), "tags": _tags(song.probabilities, chosen, tagger)}
    if timeline:
        record["timeline"] = [
            {"start_seconds": start, "tags": _tags(said, chosen, tagger)}
            for start, said in zip(_starts(song, tagger), song.timeline, strict=True)
        ]
    return record


def _tags(said: np.ndarray, chosen: Iterable[int], tagger: Tagger) -> dict[str, float]:
    return {tagger.tags[tag]: float(said[tag]) for tag in chosen}


def as_csv(songs: Iterable[Song], tagger: Tagger, top: int, timeline: bool) -> Iterator[str]:
    """A line for each tag of each file, or of each segment of it, below a line of titles."""
    yield _line(_titles(timeline))
    for song in songs:
        for file, start, tag, probability in _rows(song, tagger, top, timeline):
            yield _line([file, *([start] if timeline else ()), tag, probability])


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def as_table(songs: Iterable[Song], tagger: Tagger, top: int, timeline: bool) -> Iterator[str]:
    """The same lines in columns, once the last file is done; nothing where no file could be tagged."""
    from zoo.screens import console, table

    titles = _titles(timeline)
    shown = table(titles, set(titles) - {"file", "tag"})
    for song in songs:
        for file, start, tag, probability in _rows(song, tagger, top, timeline):
            shown.add_row(
                _printable(file),
                *([f"{start:.2f}"] if timeline else ()),
                _printable(tag),
                f"{probability:.4f}",
            )
    if shown.rows:
        text = io.StringIO()
        console(text).print(shown)
        yield text.getvalue()


def _titles(timeline: bool) -> list[str]:
    return ["file", *(["start_seconds"] if timeline else ()), "tag", "probability"]


def _rows(song: Song, tagger: Tagger, top: int, timeline: bool) -> Iterator[Row]:
    chosen = _likeliest(song, top)
    if not timeline:
        for tag in chosen:
            yield _name(song), None, tagger.tags[tag], float(song.probabilities[tag])
        return
    for start, said in zip(_starts(song, tagger), song.timeline, strict=True):
        for tag in chosen:
            yield _name(song), start, tagger.tags[tag], float(said[tag])


def _likeliest(song: Song, top: int) -> list[int]:
    """Places of the tags that are likeliest over the whole file, which a timeline shows too."""
    return np.argsort(-song.probabilities, kind="stable")[:top].tolist()


def _starts(song: Song, tagger: Tagger) -> Iterator[float]:
    """Where each segment begins, in seconds."""
    return (i * tagger.segment_samples / tagger.sample_rate_hz for i in range(song.segments))


def _name(song: Song) -> str:
    """The file's name; bytes in it that are no UTF-8 are written as such, as a stream of text takes none."""
    return str(song.file).encode("utf-8", "backslashreplace").decode()


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


WRITERS: Mapping[str, Callable[[Iterable[Song], Tagger, int, bool], Iterator[str]]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
