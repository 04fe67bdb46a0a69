"""What lies under WAVEZOO_HOME that nothing needs any more: found by what refers to it, never by a guess.

A trial is needed while a search of the ledger or a run of MLflow's names it, and in use while its lock is held.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from datasets.build import BUILDING
from datasets.errors import nearest
from datasets.home import home
from datasets.sqlite import is_missing
from search import files
from search.errors import SearchError, without_password
from search.outcome import Outcome
from search.recording.store import client, in_a_line, tracking_uri
from search.recording.told import Told
from search.study.records import Record, Records

DAY_SECONDS = 86_400.0
BATCH = 100  # so many are deleted between two questions for who names them


@dataclass(frozen=True)
class Kind:
    """What may go. loses: what its end costs."""

    name: str
    what: str
    loses: str


KINDS = (
    Kind("parts", "files that killed writers left half-written", "nothing"),
    Kind("filters", "what pages of filters have computed", "it is computed again when it is looked at"),
    Kind("builds", "data sets whose build did not end", "their build begins anew"),
    Kind(
        "states",
        "where trials that have ended or were stopped early would go on",
        "the latter would begin anew",
    ),
    Kind("trials", "trials that no search and no run of MLflow's names", "their scores and weights"),
)


NAMED = ("states", "trials")  # the kinds that are left over only as far as nobody names their trials


@dataclass(frozen=True)
class Leftover:
    """kind: a name of KINDS. path: a file or folder below home(). n_bytes: what it takes on the disk.

    written: when the last of its files was, in seconds since 1970.
    """

    kind: str
    path: Path
    n_bytes: int
    written: float


@dataclass(frozen=True)
class References:
    """Who names which trial. records: of the ledger, by signature. runs: signatures of MLflow's runs."""

    records: Mapping[str, Sequence[Record]]
    runs: frozenset[str]

    def over(self, signature: str) -> bool:
        """Whether every search that names the trial has stopped it early, for good; a failed one may be tried again."""
        named = self.records.get(signature, ())
        return bool(named) and all(each.outcome is Outcome.STOPPED for each in named)

    def nobody(self, signature: str) -> bool:
        return signature not in self.records and signature not in self.runs


class Referrers:
    """Whoever may name trials, to be asked more than once: what is new is all that is read again.

    storage, tracking: as in the words of search.run. raises: SearchError if one is no address.
    """

    def __init__(self, storage: str | None, tracking: str | None) -> None:
        self._records, self._uri = Records(storage), tracking_uri(tracking)
        self._told: dict[str, Told] = {}  # by experiment

    def now(self) -> References:
        """Who names which trial at this moment. raises: SearchError if one can't be read."""
        records: dict[str, list[Record]] = {}
        for record in self._records.everything():
            records.setdefault(record.signature, []).append(record)
        return References(records, self._runs())

    def _runs(self) -> frozenset[str]:
        """Signatures of the trials that MLflow holds; the registry's models are of its runs."""
        if is_missing(self._uri):
            return frozenset()
        try:
            mlflow = client(self._uri)
            for experiment in mlflow.search_experiments():
                told = self._told.setdefault(experiment.experiment_id, Told())
                told.learn(mlflow, experiment.experiment_id)
        except Exception as error:  # whatever a server can do
            where = without_password(self._uri)
            raise SearchError(
                f"MLflow at {where} can't be asked which trials it names: {in_a_line(error)}"
            ) from error
        return frozenset().union(*(told.signatures for told in self._told.values()))


def find(named: References, unchanged_seconds: float = DAY_SECONDS) -> list[Leftover]:
    """All leftovers below home(). unchanged_seconds: what has changed since is somebody's."""
    before = time.time() - unchanged_seconds
    return [each for each in _all(named) if _changed(each.path) <= before]


def _all(named: References) -> Iterator[Leftover]:
    place = home()
    for kind, found in (
        ("parts", _half_written(place)),
        ("filters", place.glob("filters/*")),
        ("builds", _unfinished(place / "datasets")),
        ("states", _states(place / "trials", named)),
        ("trials", (each for each in _folders(place / "trials") if named.nobody(each.name))),
    ):
        left = (path for path in sorted(found) if not _in_use(path))
        yield from (Leftover(kind, path, size(path), _written(path)) for path in left)


def _half_written(place: Path) -> Iterator[Path]:
    """Below all folders but `sources`, where a download that was interrupted goes on."""
    folders = (each for each in place.glob("*") if each.name != "sources")
    return (
        part
        for each in folders
        for part in (each.rglob("*.part") if each.is_dir() else [each])
        if part.name.endswith(".part")
    )


def _unfinished(folder: Path) -> Iterator[Path]:
    return (each for each in _folders(folder) if not (each / "card.json").exists())


def _states(folder: Path, named: References) -> Iterator[Path]:
    over = [each for each in _folders(folder) if _needs_no_state(each, named)]
    states = (each / name for each in over for name in (files.STATE, files.MOMENT))
    return (path for path in states if path.is_file())


def _needs_no_state(folder: Path, named: References) -> bool:
    """Whether a trial has nowhere to go on to."""
    return named.over(folder.name) or (folder / files.RESULT).is_file()


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.glob("*") if each.is_dir() and not each.is_symlink()]


def _in_use(path: Path) -> bool:
    with _held(path) as mine:
        return not mine


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Keep trials and builds away from a path while the block runs; False if one of them has it."""
    around = [folder for folder in (path, *path.parents) if folder.is_relative_to(home())]
    places = [folder / name for folder in around for name in (files.LOCK, BUILDING)]
    with ExitStack() as open_files:
        try:
            for lock in places:
                if lock.is_file():
                    # Open for writing, as NFS wants of who locks
                    flock(open_files.enter_context(lock.open("r+b")), LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as what they are, not as what they lead to."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size(each) for each in path.iterdir())
        return path.lstat().st_size
    except FileNotFoundError:  # gone meanwhile
        return 0


def _changed(path: Path) -> float:
    """When anything of it was last changed, in seconds since 1970."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    try:
        return max(each.lstat().st_mtime for each in (path, *inside))
    except FileNotFoundError:  # whose writer has just taken it away
        return time.time()


def _written(path: Path) -> float:
    """When the last file of it was written, in seconds since 1970.

    Folders don't count: they change with what is deleted from them, as one leftover may lie in another.
    """
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else (path,)
    written = 0.0
    for each in inside:
        with suppress(FileNotFoundError):  # gone meanwhile
            if not each.is_dir():
                written = max(written, each.lstat().st_mtime)
    return written


def kinds(words: str) -> list[str]:
    """The kinds that a word names, such as `parts,states`. raises: SearchError for one that is unknown."""
    known = [each.name for each in KINDS]
    for word in words.split(","):
        if word not in known:
            raise SearchError(f"delete={word}: {nearest(word, known)}")
    return words.split(",")


def remove(
    leftovers: Sequence[Leftover],
    ask: Callable[[], References],
    tell: Callable[[Leftover], None] = lambda each: None,
) -> None:
    """Delete them. What someone has begun to use, changed or named since it was found stays.

    ask: who names trials now; asked before each BATCH, as a search may take over what another one had trained without
         a touch of its folder. tell: hears of each that is gone. raises: what `ask` does.
    """
    for batch in (leftovers[at : at + BATCH] for at in range(0, len(leftovers), BATCH)):
        named = ask() if any(each.kind in NAMED for each in batch) else None
        for each in batch:
            if (named is None or _still_left(each, named)) and _removed(each):
                tell(each)


def _still_left(each: Leftover, named: References) -> bool:
    """Whether nobody has named it since it was found."""
    if each.kind == "trials":
        return named.nobody(each.path.name)
    return each.kind != "states" or _needs_no_state(each.path.parent, named)


def _removed(each: Leftover) -> bool:
    """Delete it, unless someone uses it or has changed it."""
    with _held(each.path) as mine:
        if not mine or _written(each.path) > each.written:
            return False
        if each.path.is_dir():
            shutil.rmtree(each.path)
        else:
            each.path.unlink(missing_ok=True)
        return True
