"""Build a data set once, into Arrow shards that training maps into memory.

    python -m datasets.build name=mtat source=/music/mtat

Words (key=value):
    name=NAME       which data set (see the end of this text)
    source=FOLDER   where its files are; rendered data sets need none
    rate=22050      sample rate of the store in Hz
    workers=auto    processes; auto is one for each core
    out=FOLDER      home of all data; default: WAVEZOO_HOME, or ./wavezoo-data
    address=ADDRESS build on a Ray cluster: auto or HOST:PORT; all nodes see the same source and home
    seconds_per_clip=60  a clip that takes longer is given up; given, it tries such clips again
    and those of the data set itself, listed at the end

Typing the same again after an interruption goes on where it stopped and ends in the same bytes. A shard that
was damaged since (see python -m datasets.verify) is made again, and no other.
"""

import csv
import errno
import fcntl
import io
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datasets import recipe as recipes
from datasets import words as typed
from datasets.cards import (
    CARD_FILE,
    SKIPPED_FILE,
    Card,
    StoredFile,
    card,
    fingerprint,
    is_built,
    parse,
    tag_hash,
)
from datasets.errors import DatasetError, nearest, reason
from datasets.home import folder_of, made_home
from datasets.making import Means, announcement, make_all
from datasets.progress import progress
from datasets.recipe import Plan, Recipe, Skipped
from datasets.report import doubts, replacing, report
from datasets.shards import Task, shard_folder, tasks
from datasets.whole import remove_parts, written_whole
from datasets.workers import SECONDS_PER_CLIP

WORDS = ("name", "source", "rate", "workers", "out", "address", "seconds_per_clip")
LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
INDEX_FILE = "index.arrow"
BUILDING = ".building"  # in the folder of a data set, held by whoever builds it


def build(
    name: str,
    source: str | Path | None = None,
    rate_hz: int | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    wait: bool = False,
    words: Mapping[str, str] | None = None,
    address: str | None = None,
    seconds_per_clip: float | None = None,
    protected: bool = False,
) -> Card:
    """Build data set `name` and return its card.

    source:  folder of its files (None for rendered data sets).
    rate_hz: sample rate of the store; None takes the data set's own.
    workers: processes; None takes one for each core this process may use, 1 works in this very process.
    out:     home of all data instead of datasets.home().
    say:     hears the lines of the report.
    wait:    if another process builds the same, wait for it and take what it built, instead of refusing.
    words:   the data set's own words, as Recipe.words lists them.
    address: of a Ray cluster to build on, `auto` or HOST:PORT; workers= is then how many tasks at once.
    seconds_per_clip: a clip that takes longer is given up (60); given, clips given up before are tried again.
    protected: use a worker process even for one worker, so that no clip can end the build.
    raises:  DatasetError for anything about the name, the source or the target that can't be; OSError of the
             target's disk.
    """
    recipe = _recipe(name)
    words = recipe.known(words or {})
    rate_hz = recipe.rate_hz if rate_hz is None else rate_hz
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise DatasetError(f"rate={rate_hz}: give a sample rate of {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    plan = recipe.plan(None if source is None else Path(source), rate_hz, **words)
    if not plan.clips:
        raise DatasetError(f"none of the {len(plan.skipped)} clips of {name} has audio in {plan.source}")
    for note in plan.notes:
        say(note)
    name = plan.stored_as
    if out is None:
        made_home()
    folder = folder_of(name, None if out is None else Path(out).expanduser().absolute())
    with _only_builder(folder, wait, say):
        if wait and out is None and is_built(name):
            return card(name)
        before = _earlier(folder)
        finished = {shard.file: shard.sha256 for shard in before.shards} if before else {}
        todo = tasks(plan, folder, finished, try_again=seconds_per_clip is not None)
        means = Means(workers, address, seconds_per_clip or SECONDS_PER_CLIP, protected)
        remove_parts(folder)
        for line in replacing(plan, before):
            say(line)
        say(announcement(todo, means))
        with progress(f"building {name}", len(plan.clips)) as done:
            shards = make_all(todo, means, done)
        columns, labels, skipped = _collect(plan, todo, shards)
        if not columns["clip_id"]:
            raise DatasetError(_none_left(skipped))
        built = _finish(recipe, plan, folder, shards, columns, labels, skipped)
    for line in (*report(plan, before, built, folder), *doubts(plan, columns, labels)):
        say(line)
    return built


def _recipe(name: str) -> Recipe:
    """The recipe that is called `name`; DatasetError if there is none, with the command if a store is called so."""
    if name not in recipes.recipe_names() and name in recipes.names():
        raise DatasetError(f"{name} is what a store is called; to build it again: {card(name).command}")
    return recipes.own(name)


def _finish(
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    shards: list[StoredFile],
    columns: dict[str, list],
    labels: np.ndarray,
    skipped: list[Skipped],
) -> Card:
    """Index, list of the skipped, card; then what an earlier build left behind is removed."""
    from datasets import store

    index_file = folder / shard_folder(plan.id) / INDEX_FILE
    metadata = {"plan": plan.id, "sample_rate_hz": str(plan.sample_rate_hz), "tags": "\n".join(plan.tags)}
    store.write_index(index_file, columns, labels, metadata)
    with written_whole(folder / SKIPPED_FILE) as part:
        part.write_text(_skipped_csv(skipped), encoding="utf-8")
    built = _card(recipe, plan, shards, store.stored(index_file, folder), columns, skipped)
    # The card is what makes a data set: until it is renamed, readers see the build before this one, whole, or where
    # that had the same clips, and so its index this one's name, are told that a build goes on.
    with written_whole(folder / CARD_FILE) as part:
        part.write_text(built.to_json(), encoding="utf-8")
    for old in folder.glob("shards-*"):
        if old.name != shard_folder(plan.id):
            shutil.rmtree(old)
    return built


def _none_left(skipped: Sequence[Skipped]) -> str:
    """What is said where no clip is left."""
    one, why = skipped[0], Counter(each.reason for each in skipped)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in why.most_common())
    return f"none of the clips could be read ({kinds}), so nothing was built; the first is {one.path}: {one.detail}"


def _collect(
    plan: Plan, todo: list[Task], shards: list[StoredFile]
) -> tuple[dict[str, list], np.ndarray, list[Skipped]]:
    """What lies in the shards, in the plan's order: index columns, labels, and all that was skipped."""
    from datasets import store

    where, skipped = {}, list(plan.skipped)
    for task, file in zip(todo, shards, strict=True):
        shard = store.read_shard(task.file, plan.id, file.bytes)
        lengths = np.diff(shard.offsets).tolist()
        rows = zip(shard.clip_ids, lengths, shard.clipped.tolist(), strict=True)
        for row, (clip_id, n_samples, clipped) in enumerate(rows):
            where[clip_id] = (n_samples, clipped, task.number, row)
        skipped += [Skipped(*entry) for entry in shard.skipped]
    kept = [number for number, clip in enumerate(plan.clips) if clip.clip_id in where]
    clips = [plan.clips[number] for number in kept]
    columns: dict[str, list] = {
        "clip_id": [clip.clip_id for clip in clips],
        "path": [clip.path for clip in clips],
        "artist": [clip.artist or "" for clip in clips],
    }
    if any(clip.recording for clip in clips):
        columns["recording"] = [clip.recording or "" for clip in clips]
    for convention in plan.conventions:
        columns[f"split:{convention}"] = [clip.splits.get(convention, "") for clip in clips]
    for position, name in enumerate(("n_samples", "clipped_samples", "shard", "row")):
        columns[name] = [where[clip.clip_id][position] for clip in clips]
    return columns, plan.labels[kept], skipped


def _card(
    recipe: Recipe,
    plan: Plan,
    shards: list[StoredFile],
    index: StoredFile,
    columns: dict[str, list],
    skipped: list[Skipped],
) -> Card:
    counts = {name: Counter(columns[f"split:{name}"]) for name in plan.conventions}
    return Card(
        name=plan.stored_as,
        recipe=recipe.name,
        fingerprint=fingerprint((*shards, index)),
        sample_rate_hz=plan.sample_rate_hz,
        tags=plan.tags,
        tag_hash=tag_hash(plan.tags),
        conventions={name: {split: counts[name][split] for split in recipes.SPLITS} for name in counts},
        default_convention=plan.conventions[0],
        segmented_samples=plan.segmented_samples,
        clip_samples=max(columns["n_samples"], default=0),
        hours=round(sum(columns["n_samples"]) / plan.sample_rate_hz / 3600, 4),
        licence=recipe.licence,
        citation=recipe.citation,
        shards=tuple(shards),
        index=index,
        plan_id=plan.id,
        version=plan.version,
        store_format=recipes.STORE_FORMAT,
        clips=len(columns["clip_id"]),
        clipped_clips=sum(count > 0 for count in columns["clipped_samples"]),
        skipped=dict(sorted(Counter(clip.reason for clip in skipped).items())),
        words=dict(plan.words),
    )


def _skipped_csv(skipped: list[Skipped]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("clip_id", "path", "reason", "detail"))
    rows.writerows((clip.clip_id, clip.path, clip.reason, clip.detail) for clip in skipped)
    return text.getvalue()


@contextmanager
def _only_builder(folder: Path, wait: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the target while building: of two builds at once, one waits, which it says, or is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / BUILDING).open("w") as lock:
        try:
            # Freed by the system when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise DatasetError(
                    f"another process is building {folder}; wait for it or give out="
                ) from None
            say(f"waiting for another process that builds {folder.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _earlier(folder: Path) -> Card | None:
    """The card of the last finished build; None if there is none, or one that nobody can read."""
    file = folder / CARD_FILE
    try:
        return parse(file.read_bytes(), file)
    except (FileNotFoundError, UnicodeDecodeError, DatasetError):
        return None  # then shards are judged by themselves


def parse_words(words: list[str]) -> dict[str, str]:
    """`key=value` words of the command line; DatasetError with the nearest for a word it doesn't know."""
    name = next((word[len("name=") :] for word in words if word.startswith("name=")), "")
    belongs = {key: recipe for recipe in recipes.recipe_names() for key in recipes.own(recipe).words}
    if not name:
        typed.parse(words, (*WORDS, *belongs))
        raise DatasetError(f"which data set? write name=...; {nearest('', recipes.recipe_names())}")
    known = (*WORDS, *_recipe(name).words)
    for key in (word.partition("=")[0] for word in words):
        if key in belongs and key not in known:
            raise DatasetError(f"{key}= is a word of name={belongs[key]}, not of name={name}")
    return typed.parse(words, known)


def _help() -> str:
    own = [recipes.own(name) for name in recipes.recipe_names()]
    lines = [f"\nData sets: {', '.join(recipe.name for recipe in own)}"]
    for recipe in own:
        lines += [f"\nWords of name={recipe.name}:"] if recipe.words else []
        lines += [f"    {key + '=...':15} {said}" for key, said in recipe.words.items()]
    return f"{__doc__}" + "\n".join(lines)


def _whole_number(given: dict[str, str], key: str) -> int | None:
    text = given.get(key, "auto")
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise DatasetError(f"{key}={text}: give a whole number from 1, or auto")
    return int(text)


def _build_as(given: dict[str, str]) -> None:
    build(
        given["name"],
        given.get("source"),
        _whole_number(given, "rate"),
        _whole_number(given, "workers"),
        given.get("out"),
        words={key: value for key, value in given.items() if key not in WORDS},
        address=given.get("address"),
        seconds_per_clip=_whole_number(given, "seconds_per_clip"),
        protected=True,
    )


def _trouble(problem: OSError) -> str:
    if problem.errno in NO_ROOM:
        place = f" for {problem.filename}" if problem.filename else ""
        why = os.strerror(problem.errno or 0)
        return f"there is no room left{place} ({why}); free some: nothing half-written was kept, and"
    return f"{reason(problem)}; when that is put right,"


def main(words: list[str]) -> int:
    """Command line; returns the exit code: 0 built, 2 refused with one line, 130 interrupted."""
    if {"--help", "-h", "help"} & set(words):
        print(_help())
        return 0
    try:
        _build_as(parse_words(words))
    except DatasetError as problem:
        print(problem, file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"{_trouble(problem)} the same command goes on", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; to go on: {typed.command('datasets.build', words)}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
