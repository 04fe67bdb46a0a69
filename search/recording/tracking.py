"""MLflow shows and serves: one run per search, one below it per trial, written from the driver in batches.

The trials' folders are the truth and MLflow the copy: a thread brings each run up to what its trial's folder holds.
It never blocks the search. While the server is away the copying waits; a rerun copies what is still missing.

A server on SQLite takes some forty requests a second, and fewer when several ask at once. So there is one thread, a run
costs two requests to open and one for however many epochs it lacks, and files follow when there is time.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search import files
from search.errors import without_password
from search.outcome import Outcome
from search.recording import delivering, notes
from search.recording.marks import PARENT, SIGNATURE, STUDY
from search.recording.search_run import SearchRun, flat
from search.recording.store import client, experiment, in_a_line
from search.recording.told import STATUS, Told
from search.study.assignment import Assignment, Ended
from search.trials import usage

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
RETRY_SECONDS = 5.0
HEAD_START_SECONDS = 15.0  # of Ray and its workers before MLflow, whose import takes a core for three seconds
MEETING_SECONDS = 20.0  # how long the end of a search waits for a server that no one has met
PROGRESS_SECONDS = 3.0  # between two looks at how far the copying has come
NOTE_SECONDS = 10.0  # how old the note on the search's run may be


@dataclass
class _Copy:
    """How far a trial's run is: `epochs` rows are in MLflow, `outcome` is what the run is still to be told.

    began_ms: when the run did, in milliseconds since 1970. used: the last epoch of which MLflow has what it took.
    heard: the last epoch that the driver has heard of; its row may come later, from another machine.
    params: those that the run has still to be given. described: its settings and the environment are among its files.
    """

    assignment: Assignment
    run_id: str | None = None
    began_ms: int = 0
    epochs: int = 0
    heard: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    described: bool = False
    outcome: Outcome | None = None
    why: str = ""
    stale: bool = True
    tries: int = 0
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Tracker:
    """A watcher of the search that keeps MLflow up to date from a thread of its own.

    trouble: what keeps it from that now; None for nothing.
    lacking: trials that the ledger calls done and whose result is not here, so that MLflow can't be told of it.
    """

    def __init__(self, uri: str, search: SearchRun) -> None:
        self.uri, self.search = uri, search
        self.trouble: str | None = None
        self.lacking: dict[str, Assignment] = {}
        self.parent_id: str | None = None
        self.experiment_id = ""
        self._copies: dict[str, _Copy] = {}  # of the trials that run or are not copied to their end
        self._ended: set[str] = set()  # signatures of those that are
        self._given_up: list[str] = []  # and of those whose runs are to end as they stand
        self._complete = True
        self._told = Told()
        self._children: dict[str, notes.Child] = {}
        self._noted: tuple[float, int] = (-NOTE_SECONDS, -1)
        self._wake, self._closing, self._left_alone = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def started(self, assignment: Assignment) -> None:
        self._copies[assignment.signature] = _Copy(assignment)  # its run is opened within RETRY_SECONDS

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        copy = self._copies[assignment.signature]
        copy.heard, copy.stale = max(copy.heard, row["epoch"]), True
        self._wake.set()

    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        copy = self._copies.setdefault(assignment.signature, _Copy(assignment))
        with copy.lock:
            copy.outcome, copy.why, copy.stale = outcome, why, True
        self._wake.set()

    def add(self, settled: Ended) -> None:
        """A trial that ended unseen, under an earlier driver or in another search."""
        signature = settled.assignment.signature
        if signature not in self._copies and signature not in self._ended:
            why = f"{settled.kind}: {settled.why}" if settled.kind else settled.why
            self.ended(settled.assignment, settled.outcome, why)

    def give_up(self, signatures: Iterable[str]) -> None:
        """Trials that an earlier driver left running and that nobody wants: their runs are not to wait for ever."""
        self._given_up.extend(signatures)  # there is no hurry

    def close(
        self, complete: bool, patience_seconds: float, tell: Callable[[str], None] = lambda line: None
    ) -> int:
        """Wait for the thread to finish its copies. Returns how many runs are still not up to date.

        patience_seconds: at most; of a server that was asked and never answered, MEETING_SECONDS.
        tell:             is told every PROGRESS_SECONDS how far that is.
        """
        began = time.monotonic()
        self._complete = complete
        self._closing.set()
        self._wake.set()
        while self._thread.is_alive():
            is_stranger = self.trouble is not None and self.parent_id is None
            patience = min(patience_seconds, MEETING_SECONDS) if is_stranger else patience_seconds
            if (left := began + patience - time.monotonic()) <= 0:
                self._left_alone.set()
                break
            self._thread.join(min(PROGRESS_SECONDS, left))
            if self._thread.is_alive():
                tell(self._progress())
        return sum(copy.stale for copy in list(self._copies.values())) + len(self._given_up)

    def _progress(self) -> str:
        over = len(self._ended) + len(self.lacking)
        why = f" ({self.trouble})" if self.trouble else ""
        return f"telling MLflow: {over} of {over + len(self._copies)} runs{why}"

    def run_id(self, signature: str) -> str | None:
        """The MLflow run of a trial, where it has been copied whole."""
        copy = self._copies.get(signature)
        if copy is None:
            run = self._told.run(signature)
            return run.run_id if run and signature in self._ended else None
        return copy.run_id if not copy.stale else None

    def _work(self) -> None:
        mlflow: MlflowClient | None = None
        self._wake.wait(HEAD_START_SECONDS)
        while True:
            self._wake.wait(RETRY_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                mlflow = mlflow or self._connect()
                self._copy_all(mlflow)
                self._end_given_up(mlflow)
                self._describe_some(mlflow, closing)
                if closing:
                    self._end_parent(mlflow)
                self.trouble = None
                if closing:
                    return
            except (
                Exception
            ) as error:  # whatever a server or a network can do: the search goes on, this tries again
                self.trouble = f"MLflow at {without_password(self.uri)}: {in_a_line(error)}"
                if closing:
                    if self._left_alone.wait(RETRY_SECONDS):
                        return
                    self._wake.set()

    def _connect(self) -> "MlflowClient":
        """The client, with the search's own run at hand: the one of an earlier driver where there is one."""
        mlflow = client(self.uri)
        self.experiment_id = experiment(mlflow, self.search.experiment)
        wanted = f"tags.`{STUDY}` = '{self.search.study}'"
        found = mlflow.search_runs([self.experiment_id], wanted, max_results=1)
        tags = {**self.search.own_tags, STUDY: self.search.study}
        if found:
            mlflow.update_run(found[0].info.run_id, status=STATUS[Outcome.RUNNING])
        run = (
            found[0]
            if found
            else mlflow.create_run(self.experiment_id, tags=tags, run_name=self.search.study)
        )
        if not run.data.params:  # they come last: a run that has them has all
            self._describe(mlflow, run.info.run_id, self.search.config)
            mlflow.log_batch(run.info.run_id, params=delivering.params(self.search.params))
        self.parent_id = run.info.run_id
        return mlflow

    def _copy_all(self, mlflow: "MlflowClient") -> None:
        """One round over what has changed. What failed before comes last: it must not keep the others waiting."""
        copies = [copy for copy in list(self._copies.values()) if copy.stale]
        if any(copy.run_id is None for copy in copies):
            self._told.learn(mlflow, self.experiment_id)
        for copy in sorted(copies, key=lambda copy: copy.tries):
            self._bring_up(mlflow, copy)
            self.trouble = None  # whatever it was, it is over
            self._note(mlflow)

    def _end_given_up(self, mlflow: "MlflowClient") -> None:
        """End the runs of trials that are given up, but for those that this search has taken up again.

        Another search may have trained one to its end: that stays.
        """
        if self._given_up:
            self._told.learn(mlflow, self.experiment_id)
        left = (STATUS[Outcome.RUNNING], STATUS[Outcome.PAUSED])
        while self._given_up:
            run = self._told.run(self._given_up[-1])
            waits = run is not None and run.status in left and self._given_up[-1] not in self._copies
            # What was learned of it may be old
            if run and waits and mlflow.get_run(run.run_id).info.status in left:
                mlflow.set_terminated(run.run_id, STATUS[Outcome.STOPPED])
            self._given_up.pop()  # once that is told: what fails is tried again

    def _describe_some(self, mlflow: "MlflowClient", all_of_them: bool) -> None:
        """Add files to runs that still run, until there is something more urgent."""
        for copy in [copy for copy in list(self._copies.values()) if copy.run_id and not copy.described]:
            if self._wake.is_set() and not all_of_them:
                return
            assert copy.run_id is not None
            self._describe(mlflow, copy.run_id, copy.assignment.settings.to_json())
            copy.described = True

    def _bring_up(self, mlflow: "MlflowClient", copy: _Copy) -> None:
        """Copy what the trial's folder has and its run lacks."""
        signature = copy.assignment.signature
        with copy.lock:
            copy.stale, outcome, why = False, copy.outcome, copy.why
        try:
            # From another machine, it may be
            result = files.read_result(signature) if outcome is Outcome.DONE else None
            # A run that this driver has opened again, as of a failure tried once more, is to be told its end again.
            told = copy.run_id is None and self._told.is_told(signature, outcome, result)
            if outcome is Outcome.DONE and result is None and not told:
                self._give_up(copy)
                return
            if not told and not self._go_on(mlflow, copy, outcome, why, result):
                copy.stale = True
                return
            if outcome:
                self._count(copy, outcome, why)
        except BaseException:
            copy.stale, copy.tries = True, copy.tries + 1
            raise
        if outcome and not copy.stale:
            self._ended.add(signature)
            self.lacking.pop(signature, None)
            self._let_go(copy)

    def _give_up(self, copy: _Copy) -> None:
        """A run that said FINISHED without scores and weights could not be told from one that has them."""
        self.lacking[copy.assignment.signature] = copy.assignment
        self._let_go(copy)

    def _let_go(self, copy: _Copy) -> None:
        if self._copies.get(copy.assignment.signature) is copy:  # else it has been started once more
            del self._copies[copy.assignment.signature]

    def _go_on(
        self,
        mlflow: "MlflowClient",
        copy: _Copy,
        outcome: Outcome | None,
        why: str,
        result: dict[str, Any] | None,
    ) -> bool:
        """Whether all epochs that the driver has heard of are here; else the run is told of its end later.

        At the latest that is when the search ends.
        """
        signature = copy.assignment.signature
        if copy.run_id is None:
            self._open_run(mlflow, copy, result)
        assert copy.run_id is not None
        closing, rows = self._closing.is_set(), files.read_epochs(signature)
        when = delivering.moments(copy.began_ms, rows)
        used = [row for row in usage.read(signature) if copy.used < row["epoch"] <= len(rows)]
        delivering.deliver(mlflow, copy.run_id, copy.params, rows[copy.epochs :], used, when)
        copy.epochs, copy.params = max(copy.epochs, len(rows)), {}
        copy.used = max((row["epoch"] for row in used), default=copy.used)
        if copy.epochs < copy.heard and not closing and outcome is not Outcome.FAILED:
            return False
        if outcome:
            if not copy.described:
                self._describe(mlflow, copy.run_id, copy.assignment.settings.to_json())
            folder = files.trial_folder(signature)
            delivering.settle(mlflow, copy.run_id, folder, outcome, why, result, when[-1])
        return True

    def _open_run(self, mlflow: "MlflowClient", copy: _Copy, result: Mapping[str, Any] | None) -> None:
        """Find the trial's run, or make it."""
        settings, signature = copy.assignment.settings, copy.assignment.signature
        self._told.set_aside(mlflow, signature, result)
        known = self._told.run(signature)
        if known is None:
            tags = {**self.search.own_tags, PARENT: str(self.parent_id), SIGNATURE: signature}
            name = f"{settings.network} seed {settings.seed}"
            run = mlflow.create_run(self.experiment_id, tags=tags, run_name=name)
        else:
            mlflow.update_run(known.run_id, status=STATUS[Outcome.RUNNING])
            run = mlflow.get_run(known.run_id)
            copy.epochs, copy.used = delivering.delivered(mlflow, known.run_id)
        copy.run_id, copy.began_ms = str(run.info.run_id), run.info.start_time
        copy.params = {} if run.data.params else flat(settings.to_json())
        self._told.opened(signature, copy.run_id)

    def _describe(self, mlflow: "MlflowClient", run_id: str, config: Mapping[str, Any]) -> None:
        """Add what a run was made of to its files."""
        mlflow.log_dict(run_id, dict(config), "config.json")
        mlflow.log_dict(run_id, dict(self.search.environment), "environment.json")

    def _count(self, copy: _Copy, outcome: Outcome, why: str) -> None:
        """The trial has ended: a row of the search's table."""
        signature, settings = copy.assignment.signature, copy.assignment.settings
        rows, result = files.read_epochs(signature), files.read_result(signature)
        run = self._told.run(signature)
        assert run is not None
        self._children[signature] = notes.child(
            run.run_id,
            flat(settings.to_json()),
            outcome,
            why,
            rows,
            result if outcome is Outcome.DONE else None,
        )

    def _note(self, mlflow: "MlflowClient", last: bool = False) -> None:
        """Bring the note of the search's run up to date, now and then while trials end."""
        since, told = self._noted
        if not last and (time.monotonic() - since < NOTE_SECONDS or told == len(self._children)):
            return
        assert self.parent_id is not None
        about = {**self.search.environment, "question": self.search.question}
        children = list(self._children.values())
        mlflow.set_tag(self.parent_id, NOTE, notes.note(about, children))
        if last:
            mlflow.log_text(self.parent_id, notes.table(children) + "\n", "children.md")
        self._noted = (time.monotonic(), len(children))

    def _end_parent(self, mlflow: "MlflowClient") -> None:
        assert self.parent_id is not None
        self._note(mlflow, last=True)
        mlflow.set_terminated(self.parent_id, "FINISHED" if self._complete else "KILLED")
