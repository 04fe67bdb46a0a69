"""Data sets of tagged clips: built once into Arrow shards, then served from the memory map.

    python -m datasets.build name=mtat source=/music/mtat

    import datasets
    train = datasets.open("mtat", split="train", segment_samples=59049)
    for wave, tags in train.batches(batch_size=23, seed=0, epoch=0): ...

Importing this package, and asking for names, home and cards, loads neither Arrow nor torch nor a decoder.
"""

from typing import TYPE_CHECKING

from datasets.cards import Card, StoredFile, card, is_built, tag_hash
from datasets.errors import AudioError, DatasetError
from datasets.home import home
from datasets.recipe import names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from datasets.split import Split

__all__ = [
    "AudioError",
    "Card",
    "DatasetError",
    "Split",
    "StoredFile",
    "card",
    "home",
    "is_built",
    "labels",
    "names",
    "open",
    "tag_hash",
]


def open(
    name: str,
    split: str = "train",
    segment_samples: int = 59049,
    convention: str | None = None,
    *,
    device: "str | torch.device" = "cpu",
    resident: str = "auto",
) -> "Split":
    """Open one split of a built data set; no sample is read before it is asked for.

    name:            one of names(). `demo` is rendered at its first opening; others must have been built.
    split:           train, valid or test.
    segment_samples: length of a segment; see Split for where segments start.
    convention:      which clips form a split; None is the data set's default (mtat: the paper's lists).
    device:          where its batches are wanted.
    resident:        put all samples of the split into that device's memory, once: "yes", "no", or "auto", which does
                     so on a GPU with twice the room.
    raises: DatasetError for unknown words (with the nearest), for a data set not built (with the command to
            type), and for a damaged store (naming the file).
    """
    from datasets.split import open_split

    return open_split(name, split, segment_samples, convention, device, resident)


def labels(name: str, split: str, convention: str | None = None) -> "np.ndarray":
    """Which tags the clips of a split carry: (clips, tags) uint8. No sample is looked at, and torch is not loaded.

    The words are those of `open`, and so is what is refused.
    """
    from datasets.index import labels

    return labels(name, split, convention)


def __getattr__(name: str) -> object:
    # Split's file imports torch and Arrow; whoever only wants a card shouldn't wait for them.
    if name == "Split":
        from datasets.split import Split

        return Split
    raise AttributeError(f"module 'datasets' has no attribute {name!r}")
