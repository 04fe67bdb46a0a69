"""The driver's desk: trials are handed out here, their rows come in, their ends go to the ledger and the watchers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Protocol

from search import failures, throughput
from search.attempts import Limit, loss
from search.deciding import Assignment, Decider
from search.files import trial_folder
from search.halting import Halt, Leave
from search.packing import Packer, Seen
from search.plan import rough_epoch_seconds
from search.rooms import Room
from search.settings import SearchError


class Watcher(Protocol):
    """Someone who wants to know how the trials fare; called in the driver, and must not block it."""

    def started(self, assignment: Assignment) -> None: ...
    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None: ...
    def ended(self, assignment: Assignment, outcome: str, why: str) -> None:
        """outcome: done, stopped, failed, or paused for a later command to go on with. why: begins with its kind."""


class Desk:
    """Which of Tune's trials is which assignment, and how each fares.

    An error of the ledger leaves Tune at once, which would make something of its own of it.
    common: what every trial is told. room: what there is for one. packer: which part of a GPU it gets.
    waiting: a trial for which the GPUs have no room yet.
    """

    def __init__(
        self,
        decider: Decider,
        watchers: Sequence[Watcher],
        common: dict[str, Any],
        halt: Halt,
        room: Room | None = None,
        packer: Packer | None = None,
    ) -> None:
        self.decider, self.watchers, self.common, self.halt = decider, watchers, common, halt
        self.room, self.packer = room or Room(1, 0.0, 1, 0), packer or Packer(0.0, 0.0)
        self.waiting: Assignment | None = None
        self.assignments: dict[str, Assignment] = {}
        self.rows: dict[str, dict[str, Any]] = {}

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its parts for a snapshot that is never read: nothing of the search goes into it.
        return (dict, ())

    def assign(self, trial_id: str) -> dict[str, Any] | None:
        """What the trial is to train; None if nothing is left or has room now, or if the search does not go on."""
        if self.halt.error is not None:
            return None
        assignment = self.waiting or self._next()
        if assignment is None:
            return None
        job = self.decider.job
        minutes = job.settings.cluster.epoch_minutes
        with self._or_leave():  # it looks for a result, perhaps in a bucket
            work = job.work(assignment.settings)
        gpus = self.packer.share(work.family, work.memory_bytes)
        self.waiting = None if self.packer.has_room(gpus) else assignment
        if self.waiting:
            return None
        self._begin(trial_id, assignment, gpus)
        return {
            **self.common,
            "settings": assignment.settings.to_json(),
            "signature": assignment.signature,
            "memory_bytes": work.memory_bytes,
            "gpus": gpus,
            "threads": self.room.threads(gpus),
            "limit": asdict(Limit(minutes, rough_epoch_seconds(work, bool(gpus)))),
        }

    def _next(self) -> Assignment | None:
        with self._or_leave():
            try:
                return self.decider.next()
            except ValueError as error:  # the project's own refusals: what runs needs not be lost
                self.halt.ask(error, "the search can't go on")
        return None

    def _begin(self, trial_id: str, assignment: Assignment, gpus: float) -> None:
        self.assignments[trial_id] = assignment
        self.packer.hold(trial_id, gpus)
        if gpus not in (0, 1):  # a part or several: it counts against budget.gpu_hours
            with self._or_leave():
                self.decider.note_gpus(assignment.number, gpus)
        for watcher in self.watchers:
            watcher.started(assignment)

    def should_stop(self, trial_id: str, row: dict[str, Any]) -> bool:
        """Write an epoch down; True if the trial should stop after it."""
        number = self.assignments[trial_id].number
        with self._or_leave():
            self.decider.record(number, row["epoch"], row["valid_roc_auc"], row["stage"])
            return self.decider.should_stop(number)

    def tell(self, trial_id: str, row: dict[str, Any]) -> None:
        """A row has come in, the last one of a trial among them."""
        seen_before = "gpu" in self.rows.get(trial_id, {})
        self.rows[trial_id] = row
        if "gpu" in row and not seen_before:
            self._saw(self.assignments[trial_id], row["gpu"])
        if "epoch" in row:
            number = self.assignments[trial_id].number
            with self._or_leave():
                self.decider.record(number, row["epoch"], row["valid_roc_auc"], row["stage"])
            for watcher in self.watchers:
                watcher.epoch(self.assignments[trial_id], row)

    def _saw(self, assignment: Assignment, use: Mapping[str, Any]) -> None:
        """What a trial's first epoch took of its GPU decides how many share one after it."""
        with self._or_leave():
            work = self.decider.job.work(assignment.settings)
        seen = Seen(work.family, work.memory_bytes, use["peak_bytes"], use["gpu_bytes"])
        self.packer.saw(seen)
        with suppress(OSError):  # a disk that takes no more notes does not undo a training
            throughput.note_memory(
                use["device"], seen.family, seen.predicted_bytes, seen.peak_bytes, seen.gpu_bytes
            )

    def end(self, trial_id: str, lost: bool) -> None:
        """Settle a trial by the last row it sent."""
        self.packer.release(trial_id)
        assignment, row = self.assignments.pop(trial_id), self.rows.pop(trial_id, {})
        failure = loss(trial_folder(assignment.signature)) if lost else row.get("failure")
        if failure and failures.KINDS[failure["kind"]].ends_search:
            stopped = f"the search stops, {failure['kind']}: {failure['why']}; then the same command goes on"
            self.halt.ask(SearchError(stopped), f"{assignment.settings.network}: {failure['kind']}")
            self._tell_end(assignment, "paused")
            return
        with self._or_leave():
            outcome, why = self._settle(assignment.number, row, failure)
        self._tell_end(assignment, outcome, why)

    def _settle(
        self, number: int, row: Mapping[str, Any], failure: Mapping[str, str] | None
    ) -> tuple[str, str]:
        """Write the end down. Returns the outcome, and why."""
        if failure:
            self.decider.fail(number, failure["kind"], failure["why"])
            return "failed", f"{failure['kind']}: {failure['why']}"
        if "result" in row:
            self.decider.finish(number, row["result"])
            return "done", ""
        if "paused" in row:  # it stays a running one in the ledger, as after a killed driver
            return "paused", ""
        self.decider.prune(number)
        return "stopped", ""

    def _tell_end(self, assignment: Assignment, outcome: str, why: str = "") -> None:
        for watcher in self.watchers:
            watcher.ended(assignment, outcome, why)

    @contextmanager
    def _or_leave(self) -> Iterator[None]:
        """Around what reads and writes the ledger."""
        try:
            yield
        except Exception as error:
            self.halt.error = error
            raise Leave from error
