"""The driver's desk: trials are handed out here, their rows come in, their ends go to the ledger and the watchers.

What Tune takes for one trial is a hand of one or several, which go together in one process.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from search import failures
from search.errors import SearchError
from search.files import trial_folder
from search.outcome import Outcome
from search.planning import throughput
from search.planning.capacity import Room
from search.planning.estimates import rough_epoch_seconds
from search.planning.grouping import together_bytes
from search.planning.job import Work
from search.planning.packing import Packer, Seen
from search.running.dealing import Dealer
from search.running.halting import Halt, Leave
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.trials.attempts import Limit, loss


class Watcher(Protocol):
    """Someone who wants to know how the trials fare; called in the driver, and must not block it."""

    def started(self, assignment: Assignment) -> None: ...
    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None: ...
    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        """why: of a failure; begins with its kind."""


@dataclass
class Hand:
    """What one of Tune's trials was handed, in the order of their folders.

    works: what each of them costs. going: the places of those that have not ended.
    stopped: of those that the pruner ends. rows: the last one of each.
    recoveries: how often Tune has taken it up again after its process was lost.
    """

    trials: Sequence[Assignment]
    works: Sequence[Work]
    going: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    was_seen: bool = False
    recoveries: int = 0

    def __post_init__(self) -> None:
        self.going = set(range(len(self.trials)))

    @property
    def memory_bytes(self) -> int:
        """That its process is thought to need."""
        return together_bytes(self.works)

    @property
    def family(self) -> str:
        """That all of them are of."""
        return self.works[0].family

    @property
    def several(self) -> bool:
        """Whether it was more than one trial at the beginning."""
        return len(self.trials) > 1


class Desk:
    """Which of Tune's trials is which hand, and how each trial of it fares.

    An error that nobody foresaw leaves Tune at once, which would make something of its own of it.
    common: what every trial is told. room: what there is for one. packer: which part of a GPU it gets.
    waiting: a hand for which the GPUs have no room yet.
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
        self.dealer = Dealer(decider, self.room, self.packer)
        self.waiting: Hand | None = None
        self.hands: dict[str, Hand] = {}
        self._again: list[Assignment] = []  # lost, and still to be tried, each alone
        self._handed_back: Counter[str] = Counter()  # how often each was, by its signature

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its parts for a snapshot that is never read: nothing of the search goes into it.
        return (dict, ())

    def assign(self, trial_id: str) -> dict[str, Any] | None:
        """What the trial is to train; None if nothing is left or has room now, or if the search does not go on."""
        if self.halt.error is not None:
            return None
        hand = self.waiting or self._next_hand()
        if hand is None:
            return None
        gpus = self.packer.share(hand.family, hand.memory_bytes)
        self.waiting = None if self.packer.has_room(gpus) else hand
        if self.waiting:
            return None
        self._begin(trial_id, hand, gpus)
        minutes = self.decider.job.settings.cluster.epoch_minutes
        first, *beside = hand.trials
        return {
            **self.common,
            "settings": first.settings.to_json(),
            "signature": first.signature,
            "beside": [each.settings.to_json() for each in beside],
            "memory_bytes": hand.memory_bytes,
            "gpus": gpus,
            "threads": self.room.threads(gpus),
            "limit": asdict(
                Limit(minutes, max(rough_epoch_seconds(work, bool(gpus)) for work in hand.works))
            ),
        }

    @property
    def may_have_more(self) -> bool:
        """Whether there may be something to assign later, though there is nothing now."""
        # What runs may be lost, and come back
        return self.waiting is not None or bool(self.hands or self._again)

    def _next_hand(self) -> Hand | None:
        """What one process is to train next."""
        with self._or_leave():
            trials = [self._again.pop(0)] if self._again else self.dealer.deal()
            trials = sorted(trials, key=lambda each: each.signature)
            works = [self.decider.job.work(each.settings) for each in trials]
            return Hand(trials, works) if trials else None
        return None

    def _begin(self, trial_id: str, hand: Hand, gpus: float) -> None:
        self.hands[trial_id] = hand
        self.packer.hold(trial_id, gpus)
        for assignment in hand.trials:
            with self._or_leave():
                self.decider.note_together(assignment.number, len(hand.trials))
                if gpus:  # it counts against budget.gpu_hours
                    self.decider.note_gpus(assignment.number, gpus)
            for watcher in self.watchers:
                watcher.started(assignment)

    def should_stop(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        """Write an epoch down; True if nothing of the hand should go on after it."""
        hand, place = self.hands[trial_id], row.get("place", 0)
        if "epoch" in row and place in hand.going:  # else a process that was lost had told it already
            number = hand.trials[place].number
            with self._or_leave():
                self.decider.record(number, row["epoch"], row["valid_roc_auc"], row["stage"])
                if not row.get("last") and self.decider.should_stop(number):
                    hand.stopped.add(place)
        ends = place in hand.stopped or "epoch" not in row or row.get("last", False)
        return not hand.going - {place} if ends else False

    def tell(self, trial_id: str, row: dict[str, Any]) -> None:
        """A row has come in, the last one of a trial among them."""
        hand, place = self.hands[trial_id], row.get("place", 0)
        for each in hand.going if "paused" in row else {place} & hand.going:
            hand.rows[each] = row
        if place not in hand.going:
            return
        if "gpu" in row and not hand.was_seen:
            hand.was_seen = True
            self._saw(hand, row["gpu"])
        if "epoch" in row:
            assignment = hand.trials[place]
            with self._or_leave():
                self.decider.record(assignment.number, row["epoch"], row["valid_roc_auc"], row["stage"])
            for watcher in self.watchers:
                watcher.epoch(assignment, row)
        if len(hand.going) > 1 and _is_over(hand, place) and "paused" not in row:
            self._end_one(hand, place)
            self.halt.leave_out(hand.trials[place].signature)

    def _saw(self, hand: Hand, use: Mapping[str, Any]) -> None:
        """What an epoch took of its GPU decides how many share one after it.

        use: of the trials that were trained at once, by their "places".
        """
        predicted = together_bytes([hand.works[place] for place in use["places"]])
        seen = Seen(hand.family, predicted, use["peak_bytes"], use["gpu_bytes"])
        self.packer.saw(seen)
        with suppress(OSError):  # a disk that takes no more notes does not undo a training
            throughput.note_memory(
                use["device"], seen.family, seen.predicted_bytes, seen.peak_bytes, seen.gpu_bytes
            )

    def recovered(self, trial_id: str) -> None:
        """Tune takes a hand up again whose process was lost."""
        if trial_id in self.hands:
            self.hands[trial_id].recoveries += 1

    def end(self, trial_id: str, lost: bool) -> None:
        """Settle what is left of a hand, each by the last row it sent, or have it handed out once more."""
        self.packer.release(trial_id)
        hand = self.hands.pop(trial_id)
        for place in sorted(hand.going):
            if not _is_over(hand, place) and self._may_be_tried(hand, lost):
                self._handed_back[hand.trials[place].signature] += 1
                self._again.append(hand.trials[place])
                self._tell_end(hand.trials[place], Outcome.PAUSED)
            else:
                self._end_one(hand, place, lost and not hand.several)

    def _may_be_tried(self, hand: Hand, lost: bool) -> bool:
        """Whether what has not ended of a hand is to be handed out again.

        Of several that share a process nobody knows whose fault its loss was. And where a process is lost between two
        trials, Tune gives up the one that has not begun in it, without a second try.
        """
        if hand.several:
            return True
        often = self._handed_back[hand.trials[0].signature]
        return lost and hand.recoveries < failures.LOST_TRIES and often < failures.LOST_TRIES

    def _end_one(self, hand: Hand, place: int, lost: bool = False) -> None:
        """Settle a trial by the last row it sent."""
        hand.going.remove(place)
        assignment, row = hand.trials[place], hand.rows.get(place, {})
        failure = loss(trial_folder(assignment.signature)) if lost else row.get("failure")
        if failure and failures.KINDS[failure["kind"]].ends_search:
            stopped = f"the search stops, {failure['kind']}: {failure['why']}; then the same command goes on"
            self.halt.ask(SearchError(stopped), f"{assignment.settings.network}: {failure['kind']}")
            self._tell_end(assignment, Outcome.PAUSED)
            return
        outcome, why = Outcome.PAUSED, ""  # of one whose end can't be written
        with self._or_leave():
            outcome, why = self._settle(assignment.number, row, failure)
        self._tell_end(assignment, outcome, why)

    def _settle(
        self, number: int, row: Mapping[str, Any], failure: Mapping[str, str] | None
    ) -> tuple[Outcome, str]:
        """Write the end down. Returns the outcome, and why."""
        if failure:
            self.decider.fail(number, failure["kind"], failure["why"])
            return Outcome.FAILED, f"{failure['kind']}: {failure['why']}"
        if "result" in row:
            self.decider.finish(number, row["result"])
            return Outcome.DONE, ""
        if "paused" in row:  # it stays a running one in the ledger, as after a killed driver
            return Outcome.PAUSED, ""
        self.decider.prune(number)
        return Outcome.STOPPED, ""

    def _tell_end(self, assignment: Assignment, outcome: Outcome, why: str = "") -> None:
        for watcher in self.watchers:
            watcher.ended(assignment, outcome, why)

    @contextmanager
    def _or_leave(self) -> Iterator[None]:
        """Around what reads and writes the ledger. What the project itself refuses lets running trials save first."""
        try:
            yield
        except ValueError as error:
            self.halt.ask(error, "the search can't go on")
        except Exception as error:
            self.halt.error = error
            raise Leave from error


def _is_over(hand: Hand, place: int) -> bool:
    """Whether a trial has ended, or is to end, with the last row that came of it."""
    return place in hand.stopped or not {"result", "failure", "paused"}.isdisjoint(hand.rows.get(place, {}))
