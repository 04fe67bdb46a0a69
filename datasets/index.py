"""Which clips a split has, and their tags: all of a data set but its samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets import recipe as recipes
from datasets import store
from datasets.cards import Card, card, is_built
from datasets.errors import DatasetError, nearest
from datasets.home import folder_of
from datasets.subsets import subsets


@dataclass(frozen=True)
class Index:
    """The clips of one split, in the order of the data set.

    labels:  (clips, tags) uint8. subsets: masks (clips,) by name; see datasets/subsets.py.
    places:  (shard, row) of each clip's samples.
    """

    clip_ids: list[str]
    artists: list[str]
    labels: np.ndarray
    subsets: dict[str, np.ndarray]
    places: list[tuple[int, int]]


def find(name: str, split: str, convention: str | None) -> tuple[Card, str]:
    """The card of a data set, built if it builds itself, and the convention that is meant.

    raises: DatasetError for unknown words, with the nearest, and for a data set that is not built.
    """
    _build_if_automatic(name)
    about = card(name)
    convention = about.default_convention if convention is None else convention
    if convention not in about.conventions:
        raise DatasetError(
            f"{name} has no split convention {convention!r}; {nearest(convention, about.conventions)}"
        )
    if split not in recipes.SPLITS:
        raise DatasetError(f"{name} has no split {split!r}; {nearest(split, recipes.SPLITS)}")
    return about, convention


def read_index(about: Card, folder: Path, split: str, convention: str) -> Index:
    """The index of a split. raises: DatasetError for a damaged one, naming the file."""
    file = folder / about.index.file
    columns, labels = store.read_index(file, about.plan_id, about.index.bytes)
    if store.stored(file, folder).sha256 != about.index.sha256:
        raise DatasetError(
            f"{file} is not the index that its card tells of: a build goes on there, or was stopped at its end; build "
            f"it again"
        )
    splits = columns[f"split:{convention}"]
    kept = [row for row, name in enumerate(splits) if name == split]
    train = [row for row, name in enumerate(splits) if name == "train"]
    return Index(
        clip_ids=[columns["clip_id"][row] for row in kept],
        artists=[columns["artist"][row] for row in kept],
        labels=labels[kept],
        subsets={} if split == "train" else subsets(columns, kept, train),
        places=[(columns["shard"][row], columns["row"][row]) for row in kept],
    )


def labels(name: str, split: str, convention: str | None) -> np.ndarray:
    """See datasets.labels."""
    about, convention = find(name, split, convention)
    return read_index(about, folder_of(name), split, convention).labels


def _build_if_automatic(name: str) -> None:
    from datasets.build import build

    if recipes.find(name).automatic and not is_built(name):
        # Several processes may open it at once, as the workers of a search do: one builds, the others wait
        # and then find every shard there.
        build(name, workers=1, wait=True)
