"""`python -m zoo tag`: files and folders of audio to the likeliest tags of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.audio import SUFFIXES
from datasets.words import command
from zoo.commands import whole_number
from zoo.errors import ZooError, did_you_mean
from zoo.trained.locate import check

if TYPE_CHECKING:
    from zoo.tagging import Song

__all__ = ["TAG_WORDS", "tag_command"]

TAG_WORDS = ("model", "top", "timeline", "format", "device")
FORMATS = ("table", "csv", "json")
EXAMPLE = ("tag", "song.mp3", "model=models:/demo-table2@champion")
MANY = 10  # files from which on a log is told how far it is


def tag_command(words: Sequence[str], settings: Mapping[str, str]) -> int:
    """Write the likeliest tags of each file; one that cannot be tagged is reported and left out.

    returns: 1 if there was such a file, else 0.
    """
    if not words or "model" not in settings:
        raise ZooError(f"tag needs {'a model' if words else 'audio files'}: {command('zoo', EXAMPLE)}")
    top = whole_number(settings, "top", 10)
    timeline = _one_of(settings, "timeline", ("false", "true")) == "true"
    style = _one_of(settings, "format", FORMATS)
    check(settings["model"])
    import zoo
    from zoo.tag_output import WRITERS
    from zoo.tagging import tag_files

    tagger = zoo.load(settings["model"], _device(settings.get("device", "cpu")))
    files, failed = list(_audio_files(words)), [0]
    out = sys.stdout  # before the progress bar, which takes its place
    held = []  # for a terminal, so that it does not run into the bar
    with _progress(len(files)) as advance:
        songs = _tagged(tag_files(tagger, files, timeline), advance, failed)
        for text in WRITERS[style](songs, tagger, top, timeline):
            if out.isatty():
                held.append(text)
            else:
                print(text, end="", file=out, flush=True)
    print("".join(held), end="", file=out)
    return 1 if failed[0] else 0


def _tagged(songs: Iterable[Song], advance: Callable[[int], None], failed: list[int]) -> Iterator[Song]:
    """The songs that could be tagged. The others are counted, and why they could not is said at once."""
    for song in songs:
        if song.error is None:
            yield song
        else:
            failed[0] += 1
            sys.stderr.write(f"{song.error}\n")  # in one piece, as others write there, too
        advance(1)


def _audio_files(words: Iterable[str]) -> Iterator[Path]:
    """The files as they are given; of a folder, all in it and below it that look like audio, in order.

    raises: ZooError for a folder without any.
    """
    for word in words:
        if not Path(word).is_dir():
            yield Path(word)
            continue
        found = sorted(file for file in _below(word) if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ZooError(f"{word} holds no audio; files that end in {', '.join(SUFFIXES)} are looked for")
        yield from found


def _below(folder: str) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = (name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _progress(files: int) -> AbstractContextManager[Callable[[int], None]]:
    """What to call for each file that is done: a bar on a terminal, and lines for many files elsewhere."""
    from datasets.progress import progress

    told = files >= MANY or (files > 1 and sys.stderr.isatty())
    return progress("tagging", files, "files") if told else nullcontext(lambda done: None)


def _one_of(settings: Mapping[str, str], key: str, known: Sequence[str]) -> str:
    """A setting that is one of the known words; the first where it is not given."""
    value = settings.get(key, known[0])
    if value not in known:
        near = did_you_mean(value, known)
        raise ZooError(f"{key}={value[:80]} is not known{near or '; known: ' + ', '.join(known)}")
    return value


def _device(name: str) -> str:
    import torch

    try:
        torch.zeros(1, device=name).item()  # the meta device has tensors, but no numbers in them
    except (RuntimeError, AssertionError) as error:
        raise ZooError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error
    return name
