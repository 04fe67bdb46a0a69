"""Shards and index on disk: Arrow IPC files. The only file that knows Arrow.

A shard holds up to `clips_per_shard` clips as one record batch of large_list<int16>, so that a segment is a
slice of one memory-mapped array. It carries the id of its plan and what could not be decoded, so that the
index can be made from the shards alone, however many runs it took to write them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.cards import StoredFile
from datasets.errors import DatasetError
from datasets.whole import written_whole

ARROW_MAGIC = b"ARROW1"
SAMPLES = pa.field(
    "samples", pa.large_list(pa.int16()), nullable=False, metadata={"unit": "1/32768 of full scale"}
)


@dataclass(frozen=True, eq=False)
class Shard:
    """A memory-mapped shard.

    values:  (all samples of the shard,) int16, in 1/32768 of full scale; a view, nothing is read yet.
    begin_bytes: where in the file the values begin.
    offsets: (clips + 1,) int64: clip `row` is values[offsets[row]:offsets[row + 1]].
    clipped: (clips,) samples of each clip that were beyond full scale.
    skipped: [clip id, path, reason, detail] of the planned clips that gave no samples.
    """

    values: np.ndarray
    begin_bytes: int
    offsets: np.ndarray
    clip_ids: list[str]
    clipped: np.ndarray
    skipped: list[list[str]]


def write_shard(
    file: Path,
    values: np.ndarray,
    offsets: np.ndarray,
    clip_ids: list[str],
    clipped: list[int],
    metadata: Mapping[str, str],
) -> None:
    """Write one shard; its bytes depend on the arguments alone (see Shard for their meaning)."""
    samples = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values, pa.int16()))
    columns = [pa.array(clip_ids, pa.string()), pa.array(clipped, pa.int32()), samples]
    fields = [pa.field("clip_id", pa.string()), pa.field("clipped_samples", pa.int32()), SAMPLES]
    _write(file, pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=dict(metadata))))


def read_shard(file: Path, plan_id: str, n_bytes: int | None = None) -> Shard:
    """Map a shard without reading its samples.

    n_bytes: size it must have, if known.
    raises:  DatasetError naming the file if it is missing, of another size, no Arrow file, of another plan.
    """
    _check_outside(file, n_bytes)
    with _readable(file):
        batch, address = _map_batch(file)
        _check_plan(batch, plan_id, file)
        samples = batch.column("samples")
        return Shard(
            begin_bytes=samples.values.buffers()[1].address - address,
            values=_numbers(samples.values),
            offsets=_numbers(samples.offsets),
            clip_ids=batch.column("clip_id").to_pylist(),
            clipped=_numbers(batch.column("clipped_samples")),
            skipped=json.loads(batch.schema.metadata[b"skipped"]),
        )


def write_index(
    file: Path, columns: Mapping[str, Any], labels: np.ndarray, metadata: Mapping[str, str]
) -> None:
    """Write the index: plain columns of equal length, and labels (clips, tags) uint8."""
    n_tags = labels.shape[1]
    flat = pa.array(np.ascontiguousarray(labels).reshape(-1), pa.uint8())
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays["labels"] = pa.FixedSizeListArray.from_arrays(flat, n_tags)
    schema = pa.schema([(name, array.type) for name, array in arrays.items()], metadata=dict(metadata))
    _write(file, pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema))


def read_index(file: Path, plan_id: str, n_bytes: int) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Columns of the index by name, and labels (clips, tags) uint8; refusals as in read_shard."""
    _check_outside(file, n_bytes)
    with _readable(file):
        batch, _ = _map_batch(file)
        _check_plan(batch, plan_id, file)
        labels = batch.column("labels")
        matrix = _numbers(labels.values).reshape(len(labels), labels.type.list_size).copy()
        plain = [name for name in batch.schema.names if name != "labels"]
        return {name: batch.column(name).to_pylist() for name in plain}, matrix


def stored(file: Path, below: Path) -> StoredFile:
    """Path, size and checksum of a finished file; reads it once."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return StoredFile(file.relative_to(below).as_posix(), file.stat().st_size, digest)


def _write(file: Path, batch: pa.RecordBatch) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(file) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _check_outside(file: Path, n_bytes: int | None) -> None:
    """What can be seen without parsing: there, as long as it was, Arrow at both ends."""
    if not file.is_file():
        raise DatasetError(f"{file} is missing from the store; build again to make it anew")
    size = file.stat().st_size
    if n_bytes is not None and size != n_bytes:
        raise DatasetError(f"{file} has {size} bytes, {n_bytes} were written; build again to make it anew")
    with file.open("rb") as stream:
        head = stream.read(len(ARROW_MAGIC))
        stream.seek(max(0, size - len(ARROW_MAGIC)))
        if head != ARROW_MAGIC or stream.read() != ARROW_MAGIC:
            raise DatasetError(f"{file} is not a whole Arrow file; build again to make it anew")


def _check_plan(batch: pa.RecordBatch, plan_id: str, file: Path) -> None:
    found = (batch.schema.metadata or {}).get(b"plan", b"none").decode()
    if found != plan_id:
        raise DatasetError(f"{file} belongs to another build (plan {found}, wanted {plan_id}); build again")


def _map_batch(file: Path) -> tuple[pa.RecordBatch, int]:
    """The record batch of a file, looked through, and the address that the file's first byte has in memory."""
    # Closing the file keeps the mapping, which lives as long as its arrays, and frees the descriptor:
    # a thousand shards would pass the usual limit of open files.
    with pa.memory_map(str(file)) as source:
        batch, address = pa.ipc.open_file(source).get_batch(0), source.read_buffer().address
    # Offsets, lengths and texts; of numbers there is nothing to check, so no sample is read.
    batch.validate(full=True)
    return batch, address


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Whatever else Arrow or its content makes of a damaged file is a refusal that names it."""
    try:
        yield
    except DatasetError:
        raise
    except (pa.ArrowException, KeyError, ValueError, AttributeError, TypeError, OSError) as problem:
        told = " ".join(str(problem).split())
        raise DatasetError(f"{file} can't be read as Arrow ({told}); build again") from problem


def _numbers(column: pa.Array) -> np.ndarray:
    """The numbers of a column where they lie. Arrow's own `to_numpy` imports pandas first, which takes a second."""
    return np.from_dlpack(column)
