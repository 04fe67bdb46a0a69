"""mtat: MagnaTagATune as it is distributed, for the 50 tags everyone reports.

The folder given as source holds annotations_final.csv (and clip_info_final.csv for the artists), as they are
or as .csv.gz, and the mp3 folders 0 to f, either beside them or below mp3/, or else mp3.zip.001 to .003, which
are unpacked into mp3/ once. Links are followed. `python -m datasets.get name=mtat` downloads all of it.

Clips are split by folder (0-b train, c valid, d-f test) under three conventions, none of which has the three
mp3 that are empty in the distribution:
    all     every clip                              18,706 / 1,825 / 5,329
    tagged  clips with at least one of the 50 tags  15,247 / 1,529 / 4,332
    paper   tagged, less three clips of folder 0    15,244 / 1,529 / 4,332 (the default)
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from datasets.audio import decode
from datasets.errors import DatasetError
from datasets.mtat_files import CLIP_INFO, Annotations, ClipInfo, read_annotations, read_clip_info
from datasets.mtat_parts import audio_folder
from datasets.recipe import SPLITS, Plan, PlannedClip, Published, Recipe, Skipped

# By count over all 25,863 rows, ties in the order of the columns. Fixed, because a subset of the rows would
# count another 50, and two orders of the same tags cost 0.02 of AUC without anyone noticing.
TOP_50 = tuple(
    """guitar|classical|slow|techno|strings|drums|electronic|rock|fast|piano|ambient|beat|violin|vocal|synth
    |female|indian|opera|male|singing|vocals|no vocals|harpsichord|loud|quiet|flute|woman|male vocal|no vocal
    |pop|soft|sitar|solo|man|classic|choir|voice|new age|dance|male voice|female vocal|beats|harp|cello
    |no voice|weird|country|female voice|metal|choral""".replace("\n    ", "").split("|")
)
ORIGINAL_SHA256 = "99b94e95825d4fa576386a5367b9c96e0ec636e9f9c240aceb492f4728f68c3c"
BROKEN = frozenset({"35644", "55753", "57881"})
# Clips of folder 0 that have top-50 tags and yet are missing from the lists of the paper's first author.
NOT_IN_PAPER = frozenset({"29", "11268", "11269"})
SPLIT_OF_FOLDER = dict.fromkeys("0123456789ab", "train") | {"c": "valid"} | dict.fromkeys("def", "test")
CONVENTIONS = ("paper", "all", "tagged")
# Clips of the complete original; source: the paper's lists ("paper"), Won et al. 2020 ("tagged"), counted ("all").
PUBLISHED = {
    "paper": {"train": 15_244, "valid": 1_529, "test": 4_332},
    "all": {"train": 18_706, "valid": 1_825, "test": 5_329},
    "tagged": {"train": 15_247, "valid": 1_529, "test": 4_332},
}
CLIP_SECONDS = 29.1
# The authors cut segments from the first 640,000 samples at 22,050 Hz.
SEGMENTED_SECONDS = 640_000 / 22_050


def plan(source: Path | None, rate_hz: int) -> Plan:
    """Which clips there are, how they are tagged and split, and which have no audio.

    raises: DatasetError if no source is given, a file is missing or malformed (naming file and line), or if
            the complete original annotations do not give the published vocabulary and counts.
    """
    if source is None:
        raise DatasetError(f"mtat is read from its files: {DATASET.command}")
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise DatasetError(f"source={source} is no folder; give the one with annotations_final.csv in it")
    annotations = read_annotations(source)
    labels = annotations.labels(TOP_50)
    splits = [splits_of(*row) for row in zip(annotations.clip_ids, annotations.paths, labels, strict=True)]
    listed = _count(splits)
    note = _check(annotations, listed)
    known = read_clip_info(source)
    audio = audio_folder(source)
    sizes = [_size(audio / path) for path in annotations.paths]
    rows = list(zip(annotations.clip_ids, annotations.paths, sizes, splits, strict=True))
    return Plan(
        name=DATASET.name,
        version=DATASET.version,
        source=str(audio),
        sample_rate_hz=rate_hz,
        clip_samples=round(CLIP_SECONDS * rate_hz),
        segmented_samples=int(SEGMENTED_SECONDS * rate_hz + 1e-6),
        tags=TOP_50,
        labels=labels[[row for row, size in enumerate(sizes) if size]],
        clips=tuple(_planned(i, path, n, split, known.get(i)) for i, path, n, split in rows if n),
        conventions=CONVENTIONS,
        read=read_clip,
        listed=listed,
        skipped=tuple(_skipped(i, path, n) for i, path, n, _ in rows if not n),
        notes=(note, *_lacking(source, known)),
    )


def _planned(
    clip_id: str, path: str, n_bytes: int, splits: dict[str, str], known: ClipInfo | None
) -> PlannedClip:
    if known is None:
        return PlannedClip(clip_id, path, n_bytes, splits)
    return PlannedClip(clip_id, path, n_bytes, splits, known.artist, known.recording)


def splits_of(clip_id: str, path: str, labels: np.ndarray) -> dict[str, str]:
    """Split of a clip by convention; a convention that leaves it out is not named."""
    if clip_id in BROKEN:
        return {}
    split = SPLIT_OF_FOLDER[path[0]]
    splits = {"all": split}
    if labels.any():
        splits["tagged"] = split
        if clip_id not in NOT_IN_PAPER:
            splits["paper"] = split
    return splits


def read_clip(source: str, clip: PlannedClip, rate_hz: int, max_seconds: float) -> np.ndarray:
    """Decode one mp3; see datasets.audio.decode."""
    return decode(Path(source) / clip.path, rate_hz, max_seconds)


def _count(splits: list[dict[str, str]]) -> dict[str, dict[str, int]]:
    counted = Counter(pair for clip in splits for pair in clip.items())
    return {name: {split: counted[name, split] for split in SPLITS} for name in CONVENTIONS}


def _check(annotations: Annotations, listed: dict[str, dict[str, int]]) -> str:
    """Hold the complete original to what is published of it; say so if it is another file."""
    if annotations.sha256 != ORIGINAL_SHA256:
        return (
            f"{annotations.file} is not the complete original ({len(annotations.paths):,} rows): "
            "its splits are parts of the published ones, and so are its numbers"
        )
    if annotations.most_counted(len(TOP_50)) != TOP_50:
        raise DatasetError(f"{annotations.file}: its 50 most frequent tags are not the published ones")
    if listed != PUBLISHED:
        raise DatasetError(f"{annotations.file}: splits of {listed}; published are {PUBLISHED}")
    return f"{annotations.file} is the complete original; vocabulary and split counts are the published ones"


def _lacking(source: Path, known: Mapping[str, ClipInfo]) -> Iterator[str]:
    if not known:
        yield (
            f"there is no {CLIP_INFO} in {source}, so artists are not known: no interval by artist, no scores on "
            "artists that training never heard; put it there (datasets/addresses.toml has its address) and build again"
        )


def _size(file: Path) -> int | None:
    """Bytes of a file, None if there is none."""
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _skipped(clip_id: str, path: str, size: int | None) -> Skipped:
    if size is None:
        return Skipped(clip_id, path, "missing", "there is no such file")
    known = "empty in the distribution too" if clip_id in BROKEN else "the file has no bytes"
    return Skipped(clip_id, path, "empty", known)


DATASET = Recipe(
    name="mtat",
    version="1",
    rate_hz=22_050,
    licence="CC BY-NC-SA 3.0 (annotations), CC BY-NC-SA 1.0 (Magnatune's mp3): non-commercial use only",
    citation="E. Law, K. West, M. Mandel, M. Bay, J. S. Downie: Evaluation of algorithms using games: the "
    "case of music tagging. ISMIR 2009",
    plan=plan,
    published=Published(PUBLISHED, CLIP_SECONDS, SEGMENTED_SECONDS, tags=len(TOP_50)),
)
