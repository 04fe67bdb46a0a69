"""The card: what is known of a built data set without opening a single shard. Plain JSON, no Arrow."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets import recipe as recipes
from datasets.errors import DatasetError
from datasets.home import folder_of

CARD_FILE = "card.json"
SKIPPED_FILE = "skipped.csv"  # clips without samples: clip_id, path, reason, detail


def tag_hash(tags: Sequence[str]) -> str:
    """12 hex digits of the ordered tag list: two label matrices agree in their columns if these agree."""
    return hashlib.sha256("\n".join(tags).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class StoredFile:
    """A file of the store: its path below the data set's folder, its size, its checksum."""

    file: str
    bytes: int
    sha256: str


def fingerprint(files: Sequence[StoredFile]) -> str:
    """16 hex digits over the checksums of a store's shards, in order, and of its index."""
    return hashlib.sha256("\n".join(file.sha256 for file in files).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Card:
    """A built data set in words and numbers.

    fingerprint:       16 hex digits over the checksums of all shards and of the index, so over all content.
    tags, tag_hash:    the vocabulary, in the order of the label columns, and its hash.
    conventions:       for each convention the clips stored of each split, {"paper": {"train": 15244, ...}}.
    segmented_samples: only the first so many samples of a clip are segmented; None means all.
    clip_samples:      length of the longest clip.
    hours:             audio in the store.
    skipped:           how many listed clips are not in the store, by reason.
    recipe:            name of the recipe that built it; another than `name` where the store has a name of its own.
    clipped_clips:     clips with at least one sample beyond full scale, which was clipped to it.
    words:             of the recipe's own words, those that it took to store just this; none says where files were.
    """

    name: str
    fingerprint: str
    sample_rate_hz: int
    tags: tuple[str, ...]
    tag_hash: str
    conventions: dict[str, dict[str, int]]
    default_convention: str
    segmented_samples: int | None
    clip_samples: int
    hours: float
    licence: str
    citation: str
    shards: tuple[StoredFile, ...]
    index: StoredFile
    plan_id: str
    version: str
    store_format: int
    clips: int
    clipped_clips: int
    skipped: dict[str, int]
    recipe: str = ""
    words: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What to type to build the same again; DatasetError if the recipe is none of this release."""
        recipe = recipes.own(self.recipe or self.name)
        words = dict(self.words)
        if self.name != recipe.name:
            words["called"] = self.name
        if self.sample_rate_hz != recipe.rate_hz:
            words["rate"] = str(self.sample_rate_hz)
        return " ".join(
            [recipe.command, *(f"{key}={shlex.quote(str(value))}" for key, value in words.items())]
        )

    def to_json(self) -> str:
        """The same words for the same content: nothing in it depends on when or where it was built."""
        return json.dumps(asdict(self), indent=1) + "\n"


def parse(text: str | bytes, file: Path) -> Card:
    """Card from the JSON text of `file`; DatasetError naming the file if it is not one."""
    try:
        fields = json.loads(text)
        fields["tags"] = tuple(fields["tags"])
        fields["shards"] = tuple(StoredFile(**shard) for shard in fields["shards"])
        fields["index"] = StoredFile(**fields["index"])
        fields["words"] = dict(fields.get("words", {}))
        return Card(**fields)
    except (ValueError, TypeError, KeyError) as problem:
        raise DatasetError(f"{file} is not the card of a data set ({problem}); build it again") from problem


def is_built(name: str) -> bool:
    """Whether data set `name` can be opened; DatasetError if there is none of that name."""
    recipe = recipes.find(name)
    file = folder_of(name) / CARD_FILE
    if not file.is_file():
        return False
    return _is_current(parse(file.read_bytes(), file), recipe)


def card(name: str) -> Card:
    """Card of the built data set `name`.

    raises: DatasetError if the name is unknown, if it is not built (the message has the command to type),
            if it was built by a release whose samples or labels differ, or if the card is damaged.
    """
    recipe = recipes.find(name)
    file = folder_of(name) / CARD_FILE
    if not file.is_file():
        raise DatasetError(f"{name} has not been built in {file.parent}; type: {recipe.command}")
    found = parse(file.read_bytes(), file)
    if not _is_current(found, recipe):
        raise DatasetError(f"{file.parent} was built by another release; build it again: {found.command}")
    return found


def check_files(about: Card) -> None:
    """Ask the system alone whether the store's files are there and as long as they were written; none is read.

    raises: DatasetError with the command that makes them again.
    """
    folder, files = folder_of(about.name), (*about.shards, about.index)
    if faults := [file for file in files if _size(folder / file.file) != file.bytes]:
        raise DatasetError(
            f"{len(faults):,} of the {len(files):,} files of {about.name} are missing or not as long as they were "
            f"written, such as {folder / faults[0].file}; this makes them again, and no other: {about.command}"
        )


def _size(file: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _is_current(found: Card, recipe: recipes.Recipe) -> bool:
    return (found.version, found.store_format) == (recipe.version, recipes.STORE_FORMAT)
