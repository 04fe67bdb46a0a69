"""The scores of every clip as a Parquet file, so that any number can be had later without the network.

One row per clip of valid and of test: split, clip_id, artist ("" where it is not known), probabilities and labels in
the order of the tags, and a true or false column `subset:NAME` for each part of the split that is scored by itself.
The file's metadata holds the tags, the protocol and the losses as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datasets.whole import written_whole
from search.errors import SearchError
from search.scoring.intervals import FEWEST_GROUPS

FORMAT = "1"
SUBSET = "subset:"


@dataclass(frozen=True, eq=False)
class SplitScores:
    """What a network said of the clips of one split.

    artists:       of each clip; "" where it is not known.
    labels:        (clips, tags) uint8. probabilities: (clips, tags) float64.
    subsets:       masks (clips,) by name, as of datasets.split.Split.
    """

    clip_ids: tuple[str, ...]
    artists: tuple[str, ...]
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float64]
    subsets: Mapping[str, NDArray[np.bool_]]

    @property
    def artists_known(self) -> bool:
        """Whether a bootstrap over artists says anything: some must be known, and enough of them."""
        return len({artist for artist in self.artists if artist}) >= FEWEST_GROUPS


@dataclass(frozen=True, eq=False)
class ClipScores:
    """All of a trial.

    protocol: what the scores mean, see search/scoring/protocol.py.
    splits:   "valid" and "test". losses: of the same; means over segments, so they don't follow from the scores.
    """

    tags: tuple[str, ...]
    protocol: Mapping[str, Any]
    splits: Mapping[str, SplitScores]
    losses: Mapping[str, float]


def write(path: Path, scores: ClipScores) -> None:
    """Write the file; a reader sees all of it or none."""
    parts = [_table(name, split, scores) for name, split in scores.splits.items()]
    told = {"tags": scores.tags, "protocol": dict(scores.protocol), "losses": dict(scores.losses)}
    about = {"format": FORMAT, **{key: json.dumps(value) for key, value in told.items()}}
    table = pa.concat_tables(parts, promote_options="default").replace_schema_metadata(about)
    with written_whole(path) as part:
        pq.write_table(table, part)


def _table(name: str, split: SplitScores, scores: ClipScores) -> pa.Table:
    tags, clips = len(scores.tags), len(split.clip_ids)
    columns = {
        "split": pa.array([name] * clips, pa.string()),
        "clip_id": pa.array(split.clip_ids, pa.string()),
        "artist": pa.array(split.artists, pa.string()),
        "probabilities": _rows(np.asarray(split.probabilities, np.float64), tags),
        "labels": _rows(np.asarray(split.labels, np.uint8), tags),
    }
    columns |= {f"{SUBSET}{part}": pa.array(mask) for part, mask in split.subsets.items()}
    return pa.table(columns)


def _rows(matrix: NDArray[Any], width: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), width)


def read(path: Path) -> ClipScores:
    """Read what `write` wrote. raises: SearchError if it is missing, damaged, or of an earlier release."""
    try:
        table = pq.read_table(path)
        about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if about.get("format") != FORMAT:
            raise SearchError(
                f"{path} was written by another release, without the protocol and the artists; "
                f"remove its folder to train that network again"
            )
        tags = tuple(json.loads(about["tags"]))
        names = table.column("split").to_numpy(zero_copy_only=False)
        splits = {
            name: _split(table.filter(pa.array(names == name)), len(tags)) for name in dict.fromkeys(names)
        }
        return ClipScores(tags, json.loads(about["protocol"]), splits, json.loads(about["losses"]))
    except FileNotFoundError as error:
        raise SearchError(f"there are no scores of clips at {path}") from error
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        if isinstance(error, SearchError):
            raise
        raise SearchError(f"{path} can't be read as scores of clips: {error}") from error


def _split(rows: pa.Table, tags: int) -> SplitScores:
    # A part of the split that another split lacks is null there.
    marked = [name for name in rows.column_names if name.startswith(SUBSET) and not rows[name].null_count]
    return SplitScores(
        clip_ids=tuple(rows["clip_id"].to_pylist()),
        artists=tuple(rows["artist"].to_pylist()),
        labels=_matrix(rows["labels"], tags),
        probabilities=_matrix(rows["probabilities"], tags),
        subsets={
            name.removeprefix(SUBSET): rows[name].to_numpy(zero_copy_only=False).astype(bool)
            for name in marked
        },
    )


def _matrix(column: pa.ChunkedArray, width: int) -> NDArray[Any]:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
