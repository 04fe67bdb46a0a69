"""The ledger for whoever looks on: each search with its trainings, by a few plain queries, and whether it is driven.

Optuna's own reading makes an object of every epoch of every trial, seconds for a thousand of them. What is shown takes
settings, states and reasons only. The tables are those of Optuna's release 5; nothing is ever written to them.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from datasets.home import home
from datasets.sqlite import address_of, file_of, is_missing
from search.errors import SearchError, without_password
from search.outcome import ENDS, OF_STATE, Outcome, failure_of
from search.planning.job import Job
from search.planning.plan import meaning
from search.settings import TrialSettings, digest

if TYPE_CHECKING:
    from sqlalchemy import Connection

# What a trial's attributes say beside its settings: of where it was trained, and of how much there is to do.
GPUS, ELSEWHERE, WORK = "gpus", "trained elsewhere", "multiply_adds"
TOGETHER = "together"  # how many trials share its process and what that has of GPUs
REJECTED = "rejected"  # why a proposal is no network that could be trained
UNWANTED = "not wanted"  # the kind of a trial that ended because nobody asks for it any more
STORAGE = "WAVEZOO_STORAGE"  # the environment variable: an address with a password need not be typed
Answer = TypeVar("Answer")
CHUNK = 500  # ids in a query: SQLite takes no more than a thousand

STUDIES = "SELECT study_id, study_name FROM studies ORDER BY study_id"
ABOUTS = "SELECT study_id, value_json FROM study_user_attributes WHERE key = 'about'"
TRIALS = "SELECT trial_id, study_id, number, state, datetime_start, datetime_complete FROM trials ORDER BY trial_id"
ATTRIBUTES = "SELECT trial_id, key, value_json FROM trial_user_attributes WHERE trial_id IN :ids"
PARAMS = (
    "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params WHERE trial_id IN :ids"
)


@dataclass(frozen=True)
class About:
    """What the study itself says of its search.

    planned:      how many trainings it has. planned_work: their multiply-adds in all; None where a sampler chooses.
    """

    question: str
    paper_table: str | None
    budget: str
    command: str
    planned: int | None = None
    planned_work: float | None = None

    @classmethod
    def of(cls, job: Job) -> "About":
        settings, grid = job.settings, job.space.grid
        budget = meaning(settings.training, settings.budget)
        points = settings.trials if grid is None else len(grid)
        work = None if grid is None else sum(each.total for each in job.grid())
        told = (job.space.question, job.space.paper_table, budget, job.command)
        return cls(*told, planned=settings.seeds * points, planned_work=work)


@dataclass(frozen=True)
class Record:
    """A training as the ledger tells it.

    outcome: not paused; a failure has a kind and says why.
    point:   the same for all seeds of the same settings.
    params:  what the space asked for, in Optuna's own numbers, each with its distribution as JSON.
    began, ended: by the driver's clock and time zone. gpus: how many it has or had; 0 where nobody noted it. together:
             how many trials have those.
    elsewhere: another search had trained it. work: multiply-adds of the whole training; None where nobody noted them.
    """

    number: int
    outcome: Outcome
    settings: TrialSettings
    signature: str
    point: str = ""
    params: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    kind: str = ""
    why: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    gpus: float = 0.0
    together: int = 1
    elsewhere: bool = False
    work: float | None = None


@dataclass(frozen=True)
class Search:
    """A search as its ledger tells it. records: one for each training, the latest where it was tried again.

    trouble: what could not be read of it, a line each.
    """

    name: str
    about: About
    records: Sequence[Record]
    trouble: Sequence[str] = ()

    @property
    def trained(self) -> list[TrialSettings]:
        """The settings of the trainings that came to their end."""
        return [each.settings for each in self.records if each.outcome is Outcome.DONE]


def ledger_file() -> Path:
    """The SQLite file that holds the studies unless the words name another storage."""
    return home() / "studies.db"


def storage_url(given: str | None) -> str:
    """The words' storage, else what the environment's WAVEZOO_STORAGE says, else the file under home()."""
    return given or os.environ.get(STORAGE) or address_of(ledger_file())


def no_ledger_yet(given: str | None) -> bool:
    """Whether the ledger is the file under home(), and nothing has been searched there so far."""
    return storage_url(given) == address_of(ledger_file()) and not ledger_file().is_file()


def out_of_reach(doing: str, url: str, error: Exception) -> SearchError:
    """A ledger's refusal, in a line: what the database says, without SQLAlchemy's statement and link.

    doing: open or read. error: of whatever driver.
    """
    file = file_of(url)
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    if file is not None and not file.parent.is_dir():
        said = f"there is no folder {file.parent}; make it first, or give another storage=URL"
    return SearchError(without_password(f"can't {doing} the ledger {url}: {said}"))


def _none_at(url: str) -> SearchError:
    return SearchError(
        f"there is no ledger at {without_password(url)}; give the storage=URL that the search was run with"
    )


def lock_file(name: str) -> Path:
    """The file that the driver of a search holds."""
    return home() / "locks" / f"{name}.lock"


def driven(name: str) -> bool:
    """Whether a driver on this machine holds the search.

    By the kernel's list of locks: to try the lock would stand in the way of a driver that starts just then.
    """
    try:
        inode = str(lock_file(name).stat().st_ino)
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:  # it was never driven here, or this is no Linux
        return False
    return any(" FLOCK " in line and line.split()[5].rpartition(":")[2] == inode for line in held)


class Records:
    """The searches of a storage. What has ended is read once; nothing is read, or made, where there is no ledger yet.

    storage: as in the words. raises: SearchError if it is no address.
    """

    def __init__(self, storage: str | None = None) -> None:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(storage_url(storage))
        except ArgumentError as error:
            raise SearchError(
                f"storage={without_password(storage_url(storage))}: give an address, such as "
                f"sqlite:////folder/studies.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
            ) from error
        self.storage, self._ended = storage, dict[int, Record | str | None]()
        self._engine: Any = None

    def searches(self) -> list[Search]:
        """All of them, newest last.

        raises: SearchError if the ledger can't be read, or is another than home()'s and not there.
        """
        return self._ask(lambda ledger: list(self._searches(ledger)))

    def everything(self) -> list[Record]:
        """Every trial of every study, whether a search still wants it or not.

        raises: SearchError if the ledger, or any trial in it, can't be read.
        """
        found = self._ask(lambda ledger: list(self._records(ledger, _trials(ledger)).values()))
        if trouble := [each for each in found if isinstance(each, str)]:
            raise SearchError(f"{trouble[0]}: it may be any trial's")
        return [each for each in found if isinstance(each, Record)]

    def _ask(self, question: "Callable[[Connection], list[Answer]]") -> "list[Answer]":
        """Nothing, where nothing has been searched in this home yet."""
        if no_ledger_yet(self.storage):
            return []
        url = storage_url(self.storage)
        if is_missing(url):  # SQLite would make it
            raise _none_at(url)
        try:
            with self._connect(url) as ledger:
                answer = question(ledger) if _has_tables(ledger) else None
        except Exception as error:  # drivers of databases raise what they like
            raise out_of_reach("read", url, error) from error
        if answer is None:
            raise _none_at(url)
        return answer

    def _connect(self, url: str) -> "Connection":
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        # A connection for each look: pages are made in many threads, and a ledger may move away between two looks.
        self._engine = self._engine or create_engine(url, poolclass=NullPool)
        connection: Connection = self._engine.connect()
        return connection

    def _searches(self, ledger: "Connection") -> Iterator[Search]:
        from sqlalchemy import text

        names = {row[0]: row[1] for row in ledger.execute(text(STUDIES))}
        abouts = {key: json.loads(told) for key, told in ledger.execute(text(ABOUTS))}
        trials = _trials(ledger)
        found = self._records(ledger, trials)
        for key in [key for key in names if key in abouts]:
            own = [found[row[0]] for row in trials if row[1] == key]
            latest = {each.signature: each for each in own if isinstance(each, Record)}
            kept = [each for each in latest.values() if each.kind != UNWANTED]
            trouble = [each for each in own if isinstance(each, str)]
            yield Search(names[key], _about(abouts[key]), kept, trouble)

    def _records(
        self, ledger: "Connection", trials: Sequence[tuple[Any, ...]]
    ) -> dict[int, Record | str | None]:
        """Of each trial by its id; None for a proposal that was not to be trained, a line for what can't be read."""
        new = [row for row in trials if row[0] not in self._ended]
        attributes, params = _details(ledger, [row[0] for row in new])
        fresh = {row[0]: _record(row, attributes.get(row[0], {}), params.get(row[0], {})) for row in new}
        found = self._ended | fresh
        over = {row[0] for row in new if OF_STATE.get(row[3]) in ENDS}
        self._ended = {key: each for key, each in found.items() if key in over or key in self._ended}
        return found


def _has_tables(ledger: "Connection") -> bool:
    """Whether a search has been here: a server's database may be empty, and a file another program's."""
    from sqlalchemy import inspect

    return bool(inspect(ledger).has_table("studies"))


def _trials(ledger: "Connection") -> list[tuple[Any, ...]]:
    from sqlalchemy import text

    return [tuple(row) for row in ledger.execute(text(TRIALS))]


def _about(told: Mapping[str, Any]) -> About:
    """Of whatever release: what this one does not know is left out."""
    return About(**{key: value for key, value in told.items() if key in About.__dataclass_fields__})


def _details(
    ledger: "Connection", ids: Sequence[int]
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, tuple[float, str]]]]:
    from sqlalchemy import bindparam, text

    attributes: dict[int, dict[str, Any]] = {}
    params: dict[int, dict[str, tuple[float, str]]] = {}
    for at in range(0, len(ids), CHUNK):
        some = {"ids": list(ids[at : at + CHUNK])}
        wanted = [text(each).bindparams(bindparam("ids", expanding=True)) for each in (ATTRIBUTES, PARAMS)]
        for key, name, told in ledger.execute(wanted[0], some):
            attributes.setdefault(key, {})[name] = json.loads(told)
        for key, name, value, distribution in ledger.execute(wanted[1], some):
            params.setdefault(key, {})[name] = (value, distribution)
    return attributes, params


def _record(
    row: Sequence[Any], told: Mapping[str, Any], params: Mapping[str, tuple[float, str]]
) -> Record | str | None:
    _, _, number, state, began, ended = row
    if "settings" not in told or state not in OF_STATE:
        return None
    try:
        flat = json.loads(told["settings"])
        settings = TrialSettings.from_json(flat)
    except (ValueError, TypeError, KeyError) as error:
        return f"the settings of trial {number} can't be read: {error}"
    failed_by, why = failure_of(state, told)
    return Record(
        number=number,
        outcome=OF_STATE[state],
        settings=settings,
        signature=told.get("signature") or settings.signature(),
        point=digest({**flat, "seed": None}),
        params=params,
        kind=failed_by,
        why=why,
        began=_time(began),
        ended=_time(ended),
        gpus=told.get(GPUS, 0.0),
        together=told.get(TOGETHER, 1),
        elsewhere=ELSEWHERE in told,
        work=told.get(WORK),
    )


def _time(told: object) -> datetime | None:
    """SQLite keeps times as text."""
    return datetime.fromisoformat(told) if isinstance(told, str) else told  # type: ignore[return-value]
