"""msd: the Million Song Dataset with Last.fm's tags, of whatever clips you have.

    python -m datasets.build name=msd source=/msd/clips lists=/msd/lists labels=/msd/lastfm_tags.db

source  the clips, at any depth, each named by its 7digital id (2341.clip.mp3, or .wav, .flac, .ogg) or by its
        MSD track id. Nobody gives out the 7digital previews any more, so no clip has to be there: what is
        missing or empty is counted, and named in skipped.csv.
lists   the public lists: {train,valid,test}_x_{msd_id,7d_id}.txt, {valid,test}_y.npz (or .npy) and
        50tagList.txt, and for the convention `paper` author_filtered_{valid,test}_msd_id.txt; .gz is read, too.
labels  of train, which the public lists leave out: Last.fm's own lastfm_tags.db, whose tags count from more than
        50 of 100 as in the lists, or an array of 0 and 1 aligned with train_x_msd_id.

Conventions:
    paper   clips of 29.1 s and longer   201,680 / 11,774 / 28,435 (the default)
    all     every clip of the lists      201,680 / 12,634 / 28,540
"""

from pathlib import Path

import numpy as np

from datasets.errors import DatasetError
from datasets.msd_files import Lists, find_clips, kind_of, read_database, read_labels, read_lists, usual_path
from datasets.mtat import CLIP_SECONDS, SEGMENTED_SECONDS, read_clip
from datasets.progress import progress
from datasets.recipe import SPLITS, Plan, PlannedClip, Published, Recipe, Skipped

PUBLISHED = {
    "paper": {"train": 201_680, "valid": 11_774, "test": 28_435},
    "all": {"train": 201_680, "valid": 12_634, "test": 28_540},
}


def plan(source: Path | None, rate_hz: int, lists: str = "", labels: str = "") -> Plan:
    """Which clips there are, how they are tagged and split, and which have no audio.

    raises: DatasetError if a word is missing, or naming file and line if a list or the labels do not fit.
    """
    source = _source(source)
    public = read_lists(Path(lists).expanduser().absolute() if lists else source)
    matrix, labelled, label_note = _labels(public, labels)
    conventions = ("all",) if public.filtered is None else ("paper", "all")
    listed = {name: _count(public, name) for name in conventions}
    track_ids = [track for split in SPLITS for track in public.track_ids[split]]
    places, audio_note = _places(source, public, track_ids)
    splits = [choice for split in SPLITS for choice in _splits(public, split)]
    kept = [n for n, (_, size) in enumerate(places) if size and labelled[n]]
    left = [n for n, (_, size) in enumerate(places) if not (size and labelled[n])]
    return Plan(
        name=DATASET.name,
        version=DATASET.version,
        source=str(source),
        sample_rate_hz=rate_hz,
        clip_samples=round(CLIP_SECONDS * rate_hz),
        segmented_samples=int(SEGMENTED_SECONDS * rate_hz + 1e-6),
        tags=public.tags,
        labels=matrix[kept],
        clips=tuple(PlannedClip(track_ids[n], places[n][0], places[n][1] or 0, splits[n]) for n in kept),
        conventions=conventions,
        read=read_clip,
        listed=listed,
        skipped=tuple(_skipped(track_ids[n], *places[n]) for n in left),
        notes=(*_list_notes(public, listed), label_note, audio_note),
    )


def _source(source: Path | None) -> Path:
    if source is None:
        raise DatasetError(f"msd is read from its files: {DATASET.command}")
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise DatasetError(f"source={source} is no folder; give the one that has the clips, at any depth")
    return source


def _labels(public: Lists, labels: str) -> tuple[np.ndarray, np.ndarray, str]:
    """(clips, tags) uint8 of train, valid and test, (clips,) whether they are known, and what is said of them."""
    file = Path(labels).expanduser().absolute() if labels else _train_labels_beside(public.folder)
    train = public.track_ids["train"]
    n_rest = sum(len(public.labels[split]) for split in ("valid", "test"))
    if kind_of(file) == "array":
        first = read_labels(file, (len(train), len(public.tags)))
        known, note = np.ones(len(train), bool), f"labels of train are those of {file}"
    else:
        # Valid and test are asked for as well: there the answer is known, and shows whether it is the same.
        asked = [track for split in SPLITS for track in public.track_ids[split]]
        found, all_known = read_database(file, public.tags, asked)
        first, known = found[: len(train)], all_known[: len(train)]
        note = _agreement(public, file, known, found[len(train) :], all_known[len(train) :])
    matrix = np.concatenate([first, public.labels["valid"], public.labels["test"]])
    return matrix, np.concatenate([known, np.ones(n_rest, bool)]), note


def _train_labels_beside(folder: Path) -> Path:
    for name in ("train_y.npz", "train_y.npy", "lastfm_tags.db"):
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(
        "msd: the public lists have no labels of train; give labels=lastfm_tags.db (Last.fm's) or labels=train_y.npz"
    )


def _agreement(
    public: Lists, file: Path, train_known: np.ndarray, found: np.ndarray, known: np.ndarray
) -> str:
    lists = np.concatenate([public.labels["valid"], public.labels["test"]])
    if not train_known.any():
        raise DatasetError(
            f"{file} knows none of the {len(train_known):,} clips of train; is it Last.fm's for the MSD?"
        )
    words = (
        f"labels of train are from {file}, which knows {train_known.sum():,} of {len(train_known):,} clips"
    )
    if not known.any():
        return f"{words} (and none of valid and test, so it can't be compared with the lists)"
    same = (found == lists)[known].mean()
    return f"{words}; where valid and test can be compared, {same:.2%} of its labels are those of the lists"


def _places(source: Path, public: Lists, track_ids: list[str]) -> tuple[list[tuple[str, int | None]], str]:
    """Path and size of each clip's file, None where there is none; and what is said of them."""
    shop_ids = [shop for split in SPLITS for shop in public.shop_ids[split]]
    with progress("looking for clips", len(shop_ids)) as done:
        found, several = find_clips(source, {*shop_ids, *track_ids}, done)
    places: list[tuple[str, int | None]] = [
        found.get(shop) or found.get(track) or (usual_path(shop), None)
        for shop, track in zip(shop_ids, track_ids, strict=True)
    ]
    there = sum(size is not None for _, size in places)
    twice = f"; {several:,} have more than one, of which one was taken" if several else ""
    return places, f"{there:,} of {len(places):,} clips have a file below {source}{twice}"


def _splits(public: Lists, split: str) -> list[dict[str, str]]:
    """Split of each clip by convention. All clips share two dictionaries: a quarter of a million would be 60 MB."""
    every, counted = {"all": split}, {"paper": split, "all": split}
    filtered = frozenset[str]() if public.filtered is None else public.filtered[split]
    return [counted if track in filtered else every for track in public.track_ids[split]]


def _count(public: Lists, convention: str) -> dict[str, int]:
    ids = public.filtered if convention == "paper" and public.filtered is not None else public.track_ids
    return {split: len(ids[split]) for split in SPLITS}


def _list_notes(public: Lists, listed: dict[str, dict[str, int]]) -> tuple[str, ...]:
    counts = " / ".join(f"{listed['all'][split]:,}" for split in SPLITS)
    if public.filtered is None:
        return (
            f"{public.folder} lacks author_filtered_*_msd_id.txt: only the convention all ({counts}), not paper",
        )
    if listed != PUBLISHED:
        return (f"{public.folder} has other lists than the published ones ({counts}): so are its numbers",)
    return (f"{public.folder} has as many clips as the published lists under both conventions",)


def _skipped(track_id: str, path: str, size: int | None) -> Skipped:
    if size is None:
        return Skipped(
            track_id, path, "missing", "no file below the source is named by its 7digital or MSD id"
        )
    if not size:
        return Skipped(track_id, path, "empty", "the file has no bytes")
    return Skipped(track_id, path, "unlabelled", "the database of tags does not know it")


DATASET = Recipe(
    name="msd",
    version="1",
    rate_hz=22_050,
    licence="Million Song Dataset and Last.fm tags: non-commercial research; 7digital previews: as you hold them",
    citation="T. Bertin-Mahieux, D. P. W. Ellis, B. Whitman, P. Lamere: The Million Song Dataset. ISMIR 2011",
    plan=plan,
    published=Published(PUBLISHED, CLIP_SECONDS, SEGMENTED_SECONDS, tags=50),
    words={
        "lists": "folder of the public id lists, labels and 50tagList.txt; default: source",
        "labels": "labels of train: Last.fm's lastfm_tags.db, or train_y.npz; default: either beside the lists",
    },
    example="source=FOLDER lists=FOLDER labels=FILE",
)
