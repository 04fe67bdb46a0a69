"""A driver's desk without Ray, whose hands hold trials that go together."""

from typing import Any

from optuna.trial import TrialState

from search import files, spaces
from search.outcome import Outcome
from search.planning import data
from search.planning.capacity import Room
from search.planning.job import Job
from search.planning.packing import Packer
from search.running.desk import Desk
from search.running.halting import Halt
from search.study import ledger
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.words import read_words

GB = 10**9


ONE = '''"""One: a single small network, trained in several ways."""
from search.spaces import Point
GRID = [{"rate": rate, "dropout": dropout} for rate in (0.01, 0.02) for dropout in (0.3, 0.5)]
def sample(trial):
    rate = trial.suggest_categorical("rate", [0.01, 0.02])
    dropout = trial.suggest_categorical("dropout", [0.3, 0.5])
    return Point("samplecnn_m3_n3_s729", {"dropout": dropout}, {"first_learning_rate": rate})
'''

OTHERS = '''"""Four networks, three of which hear segments of one length."""
from search.spaces import Point
GRID = [{"network": name} for name in (
    "samplecnn_m3_n3_s729", "samplecnn_m3_n4_s243", "samplecnn_m3_n5_s81", "samplecnn_m4_n4_s64",
)]
def sample(trial):
    return Point(trial.suggest_categorical("network", [each["network"] for each in GRID]))
'''


def a_job(*words: str) -> Job:
    read = read_words(["dataset=demo", "budget=small", *words])
    return Job.of(read, spaces.load(read.space), data.find(read), words)


class Watching:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def started(self, assignment: Assignment) -> None:
        self.told.append(("started", assignment.number))

    def epoch(self, assignment: Assignment, row: dict[str, Any]) -> None:
        self.told.append(("epoch", assignment.number, row["epoch"]))

    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        self.told.append((outcome, assignment.number))


def a_desk(job: Job, room: Room | None = None, packer: Packer | None = None) -> tuple[Desk, Watching]:
    watching = Watching()
    return Desk(Decider(ledger.open_study(job), job), [watching], {}, Halt(print), room, packer), watching


def numbers(desk: Desk, hand: str) -> list[int]:
    return [each.number for each in desk.hands[hand].trials]


def states(desk: Desk) -> list[TrialState]:
    return [trial.state for trial in desk.decider.study.get_trials()]


def a_row(desk: Desk, hand: str, place: int, epoch: int, score: float = 0.5, last: bool = False) -> bool:
    """An epoch comes in, as Tune passes it on; after the last one its result. Returns whether Tune is to stop."""
    row: dict[str, Any] = {"place": place, "epoch": epoch, "valid_roc_auc": score, "stage": 0, "last": last}
    if last:
        signature = desk.hands[hand].trials[place].signature
        row["result"] = {"signature": signature, "valid": {"roc_auc": score}}
        files.write_json(files.trial_folder(signature) / files.RESULT, row["result"])
    stop = desk.should_stop(hand, row)
    desk.tell(hand, row)
    return stop
