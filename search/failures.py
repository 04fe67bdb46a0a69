"""What can go wrong in a search, and what is done about it: the one table, and which kind an error is of.

Imports nothing heavy: the driver asks before Ray and torch are there.
"""

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import DatasetError
from datasets.home import home
from search.errors import SearchError

LOST_TRIES = 3  # how often a trial goes on after its process or node was lost
FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write files themselves tell the number in words; SQLite has words of its own.
SAYS_FULL = re.compile(r"database or disk is full|No space left on device|Disk quota exceeded")
# torch's own exception is for its allocator alone; its libraries, Triton and the CPU's allocator raise a RuntimeError.
SAYS_NO_GPU_MEMORY = re.compile(
    r"(CUDA error|Triton Error \[CUDA\]): out of memory"
    r"|CU\w+_(ALLOC|DEVICE_ALLOCATION)_FAILED"  # cuBLAS, cuFFT, cuDNN
)
# oneDNN says of every operation after the one that got no memory that it can't be created: smaller batches in the same
# process don't help it.
SAYS_NO_HOST_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't|not enough)|std::bad_alloc|could not create a primitive"
)


STOP_TRIAL, STOP_SEARCH, SHRINK, RETRY, GO_ON = (
    "stop the trial",
    "stop the search",
    "shrink",
    "retry",
    "go on",
)


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    name:   as in the ledger and in MLflow, without a colon: what failed stands behind one.
    action: one of those above. Code asks for STOP_SEARCH alone: what is lost is tried again (running/desk.py), and
            memory that has ended shrinks what is trained at once (trials/trial.py).
    """

    name: str
    meaning: str
    action: str
    handling: str

    @property
    def ends_search(self) -> bool:
        """Whether it is of no use to train the other networks."""
        return self.action == STOP_SEARCH


DIVERGED = Kind(
    "diverged",
    "the loss is no longer a number",
    STOP_TRIAL,
    "the trial fails; it is not tried again, as the same seed gives the same numbers",
)
GPU_MEMORY = Kind(
    "out of GPU memory",
    "an allocation on the GPU failed",
    SHRINK,
    "trials that go together go on one after the other; one that is alone starts its epoch again with the batch in "
    "parts of half the size (gradients are summed, so a batch is still one step), until it fits; `micro_batch_size` in "
    "the result, in the epochs and on the card says so, as batch norm then sees the parts",
)
HOST_MEMORY = Kind(
    "out of host memory",
    "an allocation failed, or the kernel ended the process for want of memory",
    SHRINK,
    "an allocation that failed: as on the GPU; a process that was ended: as a lost one, but with this name",
)
LOST = Kind(
    "lost",
    "the process or its node is gone",
    RETRY,
    f"the trial goes on from its last checkpoint, on any node, up to {LOST_TRIES} times (where it shared its process "
    f"with others, {LOST_TRIES} times more by itself); then it fails",
)
HANG = Kind(
    "hang",
    "an epoch takes longer than `cluster.epoch_minutes`",
    RETRY,
    "the process is ended, its stack written to `hang.txt` in the trial's folder; then as a lost one",
)
REFUSED = Kind(
    "refused",
    "settings that cannot be trained",
    STOP_TRIAL,
    "words and spaces are refused before anything starts; what only the data can tell fails its trial",
)
DATA = Kind(
    "data",
    "the data set is missing, damaged, or another than at the start",
    STOP_SEARCH,
    "all trials save and end, and one line says what to build or to share; the same command goes on",
)
STORAGE = Kind(
    "storage full",
    "no room for a checkpoint, the ledger or the notes",
    STOP_SEARCH,
    "all trials end, with nothing half-written; when there is room, the same command goes on",
)
AWAY = Kind(
    "storage away",
    "`cluster.storage` does not answer",
    STOP_SEARCH,
    "an epoch that can't be copied goes with the next one; at the end of a trial the copying is tried for half a "
    "minute, then all trials save and end; the same command goes on",
)
LEDGER = Kind(
    "ledger away",
    "the ledger's server does not answer, or its file is locked",
    STOP_SEARCH,
    "what is written is tried for half a minute; then all trials save and end; the same command goes on",
)
TRACKING = Kind(
    "tracking away",
    "MLflow's server does not answer",
    GO_ON,
    "nothing waits for it but the end of a search, for two minutes, or for 20 seconds where it never answered; what it "
    "missed is delivered when it is back, or by the same command later",
)
ERROR = Kind(
    "error",
    "anything else",
    STOP_TRIAL,
    "the trial fails, the others go on; the trace is in `error.txt` in the trial's folder",
)
KINDS = {
    kind.name: kind
    for kind in (
        *(DIVERGED, GPU_MEMORY, HOST_MEMORY, LOST, HANG),
        *(REFUSED, DATA, STORAGE, AWAY, LEDGER, TRACKING, ERROR),
    )
}


class Diverged(ArithmeticError):
    """The loss is no longer a number."""


class DataTrouble(SearchError):
    """The data set is not what it was when the search began: no trial of the search can go on."""


class StorageAway(SearchError):
    """The storage that the machines of a cluster share can't be reached."""


class LedgerAway(SearchError):
    """The ledger can't be written."""


class EndNow(KeyboardInterrupt):
    """The search is to end at once, whatever would still be saved or delivered."""


def kind_of(error: BaseException) -> Kind:
    """The kind of an error that a trial raised."""
    if is_storage_full(error):
        return STORAGE
    if memory := memory_kind(error):
        return memory
    if isinstance(error, DataTrouble) or _is_of_the_data(error):
        return DATA
    if isinstance(error, StorageAway):
        return AWAY
    if isinstance(error, Diverged):
        return DIVERGED
    return REFUSED if isinstance(error, SearchError | DatasetError) else ERROR


def memory_kind(error: BaseException) -> Kind | None:
    """Which memory an error, or what it came from, tells the end of; None if it tells of something else."""
    return next((kind for each in _chain(error) if (kind := _memory_kind(each))), None)


def _memory_kind(error: BaseException) -> Kind | None:
    # By its name, as this must not import torch: torch.OutOfMemoryError is a RuntimeError like the others.
    if type(error).__name__ == "OutOfMemoryError" or _says(error, SAYS_NO_GPU_MEMORY):
        return GPU_MEMORY
    return HOST_MEMORY if isinstance(error, MemoryError) or _says(error, SAYS_NO_HOST_MEMORY) else None


def is_storage_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, is a disk or a quota without room."""
    return any(getattr(each, "errno", None) in FULL or SAYS_FULL.search(str(each)) for each in _chain(error))


def storage_full(error: BaseException) -> str:
    """One line about it."""
    found = next(each for each in reversed(list(_chain(error))) if is_storage_full(each))
    name = getattr(found, "filename", None)
    where = f" ({name})" if name else ""
    return f"there is no room left on the disk{where}: make room under {home()}"


def why(error: BaseException) -> str:
    """One line about an error."""
    if is_storage_full(error):
        return storage_full(error)
    return " ".join(str(error).split()) or type(error).__name__


def as_markdown() -> str:
    """The table, for the README."""
    lines = ["| kind | what it means | what the search does |", "| --- | --- | --- |"]
    rows = [f"| {kind.name} | {kind.meaning} | {kind.action}: {kind.handling} |" for kind in KINDS.values()]
    return "\n".join([*lines, *rows])


def _says(error: BaseException, words: re.Pattern[str]) -> bool:
    return isinstance(error, RuntimeError) and words.search(str(error)) is not None


def _is_of_the_data(error: BaseException) -> bool:
    """Whether the system refused a file of a data set."""
    name = getattr(error, "filename", None)
    return isinstance(name, str | Path) and Path(name).is_relative_to(home() / "datasets")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those it was raised from or during."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__
