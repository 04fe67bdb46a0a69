"""What a search costs beside real trainings: the same ones in it, and in a plain loop, in turn."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from rich.console import Console

from datasets.build import build
from search import spaces
from search.outcome import Outcome
from search.planning import data
from search.planning.capacity import Room
from search.planning.job import Job
from search.recording.search_run import SearchRun
from search.recording.tracking import Tracker
from search.running import cluster, placing
from search.running.board import Board
from search.running.meter import Meter
from search.settings import TrialSettings
from search.study import ledger
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.words import read_words

from .command import Say
from .instant import made_up_home
from .instant_trials import DELIVERY_SECONDS

ROOT = Path(__file__).parents[2]
SHORT, EPOCHS = "samplecnn_m3_n4_s729", (2, 20)
LONG = "samplecnn_m3_n8_s9"
SHORT_TRIALS, LONG_TRIALS = 6, 2  # one after the other, in each place for one
ON_PROCESSORS = "cluster.gpus_per_trial=0", "cluster.together=1"  # as the loop is
GOAL_PERCENT, GOAL_SECONDS = 3, 0.5
HEADS = ("epochs", "plain loop, s a training", "search, s a trial", "more, s", "more", "more, core s")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Moment:
    """When something ended, in seconds by two clocks: the wall's, and the processor time of all that works for it."""

    wall: float
    core: float


@dataclass(frozen=True)
class Cost:
    """Seconds of a training: of one of those that go on at once, and of processors."""

    wall: float
    core: float


@dataclass
class Ends:
    """A watcher that notes when each trial ended."""

    moments: list[Moment] = field(default_factory=list)

    def started(self, assignment: Assignment) -> None:
        """Nothing to do."""

    def epoch(self, assignment: Assignment, row: object) -> None:
        """Nothing to do."""

    def ended(self, assignment: Assignment, outcome: Outcome, why: str) -> None:
        if outcome is not Outcome.DONE:
            raise RuntimeError(f"a trial ended otherwise: {why}")
        self.moments.append(Moment(time.perf_counter(), core_seconds(os.getpid())))

    def cost(self, at_once: int) -> Cost:
        """Of those after the first ones, for which the workers start."""
        return between(self.moments[at_once - 1], self.moments[-1], len(self.moments) - at_once, at_once)


def between(first: Moment, last: Moment, trainings: int, at_once: int = 1) -> Cost:
    """What each of so many took that ended between these."""
    return Cost((last.wall - first.wall) * at_once / trainings, (last.core - first.core) / trainings)


def core_seconds(pid: int) -> float:
    """Of a process, of those that it began and those that they began, also of those that have ended."""
    parents: dict[int, tuple[int, float]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        # ppid is field 4; utime, stime and those of ended children are 14 to 17. The first after the name is field 3.
        parents[int(file.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    of_it, found = {pid}, 0
    while len(of_it) > found:
        found = len(of_it)
        of_it |= {child for child, (parent, _) in parents.items() if parent in of_it}
    return sum(parents[each][1] for each in of_it if each in parents)


def short_trials(rounds: int, say: Say) -> None:
    """Short trainings of two lengths; what a trial costs, and an epoch of it."""
    with _searching(say) as room:
        _say_head(SHORT, room, say)
        few, many = (_compared(SHORT, epochs, SHORT_TRIALS, rounds, room, say) for epochs in EPOCHS)
    an_epoch, a_trial = apart(few, many)
    say(
        f"\nSo a trial costs {a_trial.wall:.2f} s, of processors {a_trial.core:.2f} (goal {GOAL_SECONDS} s), and each "
        f"epoch {an_epoch.wall * 1e3:.0f} ms, of processors {an_epoch.core * 1e3:.0f}; medians of {rounds}."
    )


def long_trials(minutes: int, rounds: int, say: Say) -> None:
    """Trainings of so many minutes."""
    with _searching(say) as room:
        two_epochs = _in_a_loop(_job(LONG, 2, 2 * room.at_once, seed=0), room.at_once)
        epochs = max(round(minutes * 60 / (two_epochs.wall / 2)), 1)
        _say_head(LONG, room, say)
        _compared(LONG, epochs, LONG_TRIALS, rounds, room, say)
    say(f"\nGoal: {GOAL_PERCENT} % of trainings of five minutes; medians of {rounds}.")


def apart(few: Cost, many: Cost) -> tuple[Cost, Cost]:
    """What an epoch costs, and a trial without its epochs, from what trials of few and of many EPOCHS cost."""
    fewer, more = EPOCHS
    an_epoch = Cost((many.wall - few.wall) / (more - fewer), (many.core - few.core) / (more - fewer))
    return an_epoch, Cost(few.wall - fewer * an_epoch.wall, few.core - fewer * an_epoch.core)


def _say_head(network: str, room: Room, say: Say) -> None:
    say(f"Trainings of {network} on the rendered clips, {room.at_once} at a time, one thread each:\n")
    say(f"| {' | '.join(HEADS)} |\n|{' ---: |' * len(HEADS)}")


def _compared(network: str, epochs: int, trials: int, rounds: int, room: Room, say: Say) -> Cost:
    """Says a row; returns what a search takes more. trials: one after the other, in each place for one."""
    loops, searches = list[Cost](), list[Cost]()
    for at in range(1, rounds + 1):
        job = _job(network, epochs, trials * room.at_once, seed=1000 * at + epochs)
        if at % 2:
            loops.append(_in_a_loop(job, room.at_once))
        searches.append(_in_a_search(job, room))
        if not at % 2:  # who is first takes turns
            loops.append(_in_a_loop(job, room.at_once))
    more = [Cost(b.wall - a.wall, b.core - a.core) for a, b in zip(loops, searches, strict=True)]
    found = Cost(median(each.wall for each in more), median(each.core for each in more))
    loop, search = (median(each.wall for each in some) for some in (loops, searches))
    share = median(b.wall / a.wall - 1 for a, b in zip(loops, searches, strict=True))
    cells = [
        str(epochs),
        f"{loop:.2f}",
        f"{search:.2f}",
        f"{found.wall:.2f}",
        f"{share:.1%}",
        f"{found.core:.2f}",
    ]
    say(f"| {' | '.join(cells)} |")
    return found


@contextmanager
def _searching(say: Say) -> Iterator[Room]:
    """A home with rendered clips, and Ray on this machine."""
    with made_up_home():
        build("demo")
        with cluster.cluster(read_words(["dataset=demo", *ON_PROCESSORS]).cluster, say) as room:
            yield room


def _job(network: str, epochs: int, seeds: int, seed: int) -> Job:
    """So many trainings of a network, each of so many epochs."""
    words = [
        *("space=table2", f"networks={network}", "dataset=demo", "budget=small"),
        *("budget.learning_rates=[0.01]", f"budget.epochs_per_stage={epochs}", f"budget.patience={epochs}"),
        *("budget.multiply_adds_per_epoch=null", f"seeds={seeds}", f"seed={seed}"),
        *ON_PROCESSORS,
    ]
    settings = read_words(words)
    return Job.of(settings, spaces.load(settings.space), data.find(settings), words)


def _in_a_search(job: Job, room: Room) -> Cost:
    """As `python -m search.run` does them, with a board and MLflow."""
    decider, ends = Decider(ledger.open_study(job), job), Ends()
    tracker = Tracker(f"sqlite:///{os.environ['WAVEZOO_HOME']}/mlflow.db", SearchRun.of(job))
    board = Board(
        Console(file=io.StringIO()),
        expected=decider.expected(),
        done=0,
        guess_left=None,
        seconds=lambda assignment: 1.0,
        trouble=lambda: tracker.trouble,
    )
    told: list[str] = []
    with board:
        placing.run_trials(
            job.study, decider, room, [ends, board, tracker], {}, told.append, Meter(job.settings.limits)
        )
    tracker.close(complete=True, patience_seconds=DELIVERY_SECONDS)
    if told:
        raise RuntimeError("; ".join(told))
    if len(ends.moments) != decider.expected():
        raise RuntimeError(f"{len(ends.moments)} of {decider.expected()} trials ended well")
    return ends.cost(room.at_once)


def _in_a_loop(job: Job, at_once: int) -> Cost:
    """In so many processes at once, each of which does its part of them one after the other."""
    trainings = [work.trial for work in job.grid()]
    with ExitStack() as running:
        loops = [running.enter_context(_loop(trainings[at::at_once])) for at in range(at_once)]
        for loop in loops:
            _say_to(loop, "go")
        costs = [_of_loop(loop, len(trainings) // at_once) for loop in loops]
    return Cost(fmean(each.wall for each in costs), fmean(each.core for each in costs))


@contextmanager
def _loop(trainings: Sequence[TrialSettings]) -> Iterator["subprocess.Popen[str]"]:
    """A process that waits to do these; see plain_loop.py."""
    words = [sys.executable, "-m", "tests.benchmarks.plain_loop", "1"]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            _say_to(process, json.dumps([each.to_json() for each in trainings]))
            _heard_from(process)
            yield process
        finally:
            process.kill()


def _of_loop(process: "subprocess.Popen[str]", trainings: int) -> Cost:
    """Of those after the first."""
    ends = [json.loads(_heard_from(process)) for _ in range(trainings)]
    first, last = (Moment(each["wall"], each["core"]) for each in (ends[0], ends[-1]))
    return between(first, last, trainings - 1)


def _say_to(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _heard_from(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a plain loop ended; what it said is above")
    return line
