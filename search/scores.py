"""What a network said of every clip, kept in full so that any metric can be had later without the network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.split import Split
from datasets.whole import written_whole
from search.evaluation import Evaluation


def write(path: Path, evaluations: Mapping[str, tuple[Split, Evaluation]]) -> None:
    """One row per clip of each split: split, clip_id, probabilities and labels in the order of the tags.

    The tags are in the file's metadata, as a JSON list under "tags".
    """
    columns: dict[str, list[Any]] = {"split": [], "clip_id": [], "probabilities": [], "labels": []}
    tags: tuple[str, ...] = ()
    for name, (split, evaluation) in evaluations.items():
        columns["split"] += [name] * split.n_clips
        columns["clip_id"] += list(split.clip_ids)
        columns["probabilities"] += evaluation.probabilities.tolist()
        columns["labels"] += split.labels.tolist()
        tags = split.tags
    table = pa.table(columns).replace_schema_metadata({"tags": json.dumps(tags)})
    with written_whole(path) as part:
        pq.write_table(table, part)
