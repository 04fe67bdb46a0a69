"""What one file of this folder says about its data set, and how such files are found.

A data set is a file here with a line `DATASET = Recipe(...)`. Nothing else lists it.
"""

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.errors import DatasetError, nearest
from datasets.home import home
from datasets.words import command

STORE_FORMAT = 1
AUTO = "auto"  # a word of searches, for mtat or demo, so that no store can be called so
SPLITS = ("train", "valid", "test")
MARK = re.compile(r"^DATASET\b.*=", re.MULTILINE)
STORE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class PlannedClip:
    """One clip to be stored.

    path:   where its audio lies below the plan's source; for rendered clips a name only.
    bytes:  size of that file: a clip whose file was replaced makes another plan.
    splits: split by convention; a convention that leaves the clip out does not name it.
    artist: None where nobody knows.
    recording: the same for two clips of the same seconds of the same piece; None where nobody knows.
    """

    clip_id: str
    path: str
    bytes: int
    splits: dict[str, str]
    artist: str | None = None
    recording: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A clip of the lists that has no samples in the store, and why (missing, empty, undecodable)."""

    clip_id: str
    path: str
    reason: str
    detail: str


# Gives one clip's waveform: float32 (samples,), full scale 1, at the rate asked for; may be longer than the
# cut. Called in worker processes, so it must be a function of a module. Refuses with AudioError.
Reader = Callable[[str, PlannedClip, int, float], np.ndarray]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a build will store, known before the first clip is decoded.

    source:            folder (or whatever else `read` understands) that the clips' paths start from.
    clip_samples:      longer clips are cut to this many samples.
    segmented_samples: only the first so many samples of a clip are cut into segments; None means all.
    labels:            (clips, tags) uint8, 1 where the tag holds.
    conventions:       names of the ways to split, the default first.
    listed:            clips of each convention and split before any file was looked for.
    notes:             lines for the person who builds.
    called:            name of the store where it is not the recipe's; no part of the plan's identity.
    words:             of the recipe's own words, those that it takes to store the same again from the same files.
    """

    name: str
    version: str
    source: str
    sample_rate_hz: int
    clip_samples: int
    segmented_samples: int | None
    tags: tuple[str, ...]
    labels: np.ndarray
    clips: tuple[PlannedClip, ...]
    conventions: tuple[str, ...]
    read: Reader
    listed: dict[str, dict[str, int]]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    clips_per_shard: int = 64
    called: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = (len(self.clips), len(self.tags))
        if self.labels.shape != wanted or self.labels.dtype != np.uint8:
            raise DatasetError(
                f"labels of {self.name} are {self.labels.dtype} {self.labels.shape}; wanted uint8 {wanted}"
            )
        if len(set(self.tags)) != len(self.tags):
            raise DatasetError(f"a tag of {self.name} is listed twice; tags are addressed by name")

    @property
    def stored_as(self) -> str:
        """Name under which the store lies and is opened."""
        return self.called or self.name

    @cached_property
    def id(self) -> str:
        """16 hex digits over all that can change a byte of a shard, and nothing else.

        Labels and splits live in the index, so correcting them decodes nothing again.
        """
        clips = [[clip.clip_id, clip.path, clip.bytes] for clip in self.clips]
        settings = [STORE_FORMAT, self.name, self.version, self.sample_rate_hz, self.clip_samples]
        text = json.dumps([*settings, self.clips_per_shard, clips])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Published:
    """What is known of a data set before anyone has built it: enough to plan a search of it.

    conventions: clips by convention and split, the default convention first. tags: how many.
    clip_seconds, segmented_seconds: length of a clip, and how much of it is cut into segments.
    """

    conventions: Mapping[str, Mapping[str, int]]
    clip_seconds: float
    segmented_seconds: float
    tags: int


@dataclass(frozen=True)
class Recipe:
    """A data set as its file declares it.

    version:   changes when the same source would give other samples or labels.
    plan:      from a source folder (None if none was given), a rate in Hz and the recipe's own words as
               keyword arguments, all text; refuses with DatasetError.
    automatic: needs no source, so it is built when it is first opened.
    words:     what else can be typed to build it, each with one line of help.
    example:   the words that its command needs.
    called:    name of a store that it built, where that is another than its own.
    published: what is known of it unbuilt; None where that depends on the files.
    """

    name: str
    version: str
    rate_hz: int
    licence: str
    citation: str
    plan: Callable[..., Plan]
    automatic: bool = False
    words: Mapping[str, str] = field(default_factory=dict)
    example: str = "source=FOLDER"
    called: str = ""
    published: Published | None = None

    @property
    def command(self) -> str:
        """What to type to build it."""
        words = [f"name={self.name}", *([f"called={self.called}"] if self.called else [])]
        return command("datasets.build", [*words, *([] if self.automatic else self.example.split())])

    def known(self, words: Mapping[str, str]) -> dict[str, str]:
        """The words, all of which the recipe has; DatasetError with the nearest for another."""
        for key in words:
            if key not in self.words:
                hint = nearest(key, self.words) if self.words else "nor any other of its own"
                raise DatasetError(f"name={self.name} has no word {key!r}; {hint}")
        return dict(words)


def recipe_names() -> list[str]:
    """Names of the data sets this package can build, in alphabetical order."""
    # Reading is enough: importing every file here to ask it would cost what a fast `plan=true` can't pay.
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if MARK.search(file.read_text(encoding="utf-8")))


def names() -> list[str]:
    """recipe_names(), and the stores in home() that were built under a name of their own (called=)."""
    stores = {card.parent.name for card in home().glob("datasets/*/card.json")}
    recipes = recipe_names()
    return sorted({*recipes, *(store for store in stores if _builder_of(store) in recipes)})


def own(name: str) -> Recipe:
    """The recipe that is called `name` itself; DatasetError with its neighbours if there is none."""
    if name in recipe_names():
        recipe = importlib.import_module(f"datasets.{name}").DATASET
        assert isinstance(recipe, Recipe)
        return recipe
    raise DatasetError(f"no data set is called {name!r}; {nearest(name, names())} ({of_your_own()})")


def of_your_own() -> str:
    """What is said to a name that no data set has: how one's own gets one."""
    made = command("datasets.build", ["name=folder", "source=FOLDER", "called=NAME"])
    return f"your own clips make one: {made}; those of another WAVEZOO_HOME are not seen"


def find(name: str) -> Recipe:
    """The recipe of data set `name`, be that its own name or a store's; DatasetError if there is none."""
    builder = _builder_of(name)
    if name not in recipe_names() and builder in recipe_names():
        return replace(own(builder), called=name)
    return own(name)


def store_name(text: str, recipe: str) -> str:
    """A name for a store built by `recipe`; DatasetError if it is no plain word or another's name."""
    if not STORE_NAME.fullmatch(text):
        raise DatasetError(f"called={text}: give up to 100 letters, digits, dots, dashes and underscores")
    if text == AUTO:
        raise DatasetError(
            f"called={text}: dataset={text} of a search means mtat or demo; choose another name"
        )
    if text != recipe and text in recipe_names():
        raise DatasetError(f"called={text}: that is a data set of its own; choose another name")
    return text


def _builder_of(store: str) -> str:
    """Name of the recipe that built a store with called=, as its card says; empty if nothing says so."""
    if not STORE_NAME.fullmatch(store):
        return ""
    try:
        card = json.loads((home() / "datasets" / store / "card.json").read_text(encoding="utf-8"))
        return str(card["recipe"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""
