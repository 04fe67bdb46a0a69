"""Parts of a split that can't be known by heart: whose artists, or whose recordings, are not in the training split."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["subsets"]


def subsets(
    columns: Mapping[str, Sequence[str]], rows: Sequence[int], train: Sequence[int]
) -> dict[str, np.ndarray]:
    """Masks (clips,) of the clips in `rows` by name; those that would hold none or all of them are left out.

    unseen_artist: the clip's artist is known, and has no clip in training.
    twin_free:     the same seconds of the same recording are not in training.
    columns: of a store's index. rows, train: of the split, and of the training split.
    """
    found = {}
    for name, column, without in (("unseen_artist", "artist", False), ("twin_free", "recording", True)):
        values = columns.get(column)
        if values is None:
            continue
        known = {values[row] for row in train} - {""}
        mask = np.array([values[row] not in known and (bool(values[row]) or without) for row in rows], bool)
        if mask.any() and not mask.all():
            found[name] = mask
    return found
