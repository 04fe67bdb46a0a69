"""A search of ten thousand trials without Ray and without training: what a proposal costs, what the driver keeps."""

import gc
import io
import random
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from search.outcome import Outcome
from search.recording.tracking import Tracker
from search.running.board import Board
from search.spaces import joint
from search.study import recall
from search.study.deciding import Decider
from search.study.mirror import Mirror

from .instant import a_decider, a_search_run, made_up_home, result, row, settle

SIZES = (100, 1_000, 10_000)
ASKS = {"TPESampler": 12, "GPSampler": 1, "CmaEsSampler": 12, "NSGAIISampler": 12, "RandomSampler": 12}
SKIPPED = {("GPSampler", 10_000), ("GPSampler", 1_000)}  # unbounded: minutes for one proposal
MEMORY_TRIALS, MEMORY_LOOKS = 10_000, 10
CLOSE_SECONDS = 60.0
IN_MEMORY = "storage=sqlite:///:memory:"


def sampler(say: Callable[[str], None]) -> None:
    """Processor time of one proposal in the joint space, after so many trials, in memory."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    say(
        "Processor milliseconds of a proposal (`ask` and nine suggestions), median, by trials that have ended:\n"
    )
    say("| sampler | shown at most | " + " | ".join(f"{size:,}" for size in SIZES) + " |")
    say("| --- | ---: |" + " ---: |" * len(SIZES))
    studies = {size: _filled(size) for size in SIZES}
    for name in ("RandomSampler", "NSGAIISampler", "TPESampler", "GPSampler"):
        for bound in (False, True) if name in recall.MOST else (False,):
            shown = f"{recall.MOST[name]}" if bound else "all"
            costs = [
                "" if not bound and (name, size) in SKIPPED else f"{_ask_ms(studies[size], name, bound):.1f}"
                for size in SIZES
            ]
            say(f"| {name} | {shown} | " + " | ".join(costs) + " |")


def _filled(size: int) -> optuna.Study:
    """A study in which so many random proposals have ended."""
    chance = random.Random(size)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(size):
        trial = study.ask()
        joint.sample(trial)
        study.tell(trial, chance.random())
    return study


def _ask_ms(study: optuna.Study, name: str, bound: bool) -> float:
    kind = getattr(optuna.samplers, name)
    study.sampler = recall.bounded(kind(seed=0), study) if bound else kind(seed=0)
    spent = []
    for _ in range(ASKS[name]):
        began = time.process_time()
        trial = study.ask()
        joint.sample(trial)
        spent.append(time.process_time() - began)
        study.tell(trial, state=TrialState.FAIL)
    return sorted(spent)[len(spent) // 2] * 1e3


class Forgetful(InMemoryStorage):
    """Stands for the database of the ledger, whose memory is a file's or another machine's: keeps no trial."""

    written = 0

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self.written += 1
        return self.written - 1

    def get_trial_number_from_id(self, trial_id: int) -> int:
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Forgotten."""


class Nowhere:
    """Stands for MLflow's client, whose store is a file or another machine: takes everything and keeps nothing."""

    made = 0

    def create_run(self, *about: Any, **more: Any) -> Any:
        self.made += 1
        info = SimpleNamespace(run_id=f"{self.made:032}", status="RUNNING")
        return SimpleNamespace(info=info, data=SimpleNamespace(params={}, tags={}))

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1")

    def search_runs(self, *about: Any, **more: Any) -> Any:
        return Page()

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: None


class Page(list[Any]):
    """No runs, and no page after them."""

    token = None


class Delivering(Tracker):
    """A tracker whose store is nowhere."""

    def _connect(self) -> Any:
        self.experiment_id = self.parent_id = "1"
        return Nowhere()


def memory(say: Callable[[str], None]) -> None:
    """Memory of a driver (decider, ledger, board, tracker) over ten thousand trials that end at once."""
    say(f"Memory of the driver over {MEMORY_TRIALS:,} random trials (decider, ledger, board,")
    say("tracker; Ray, the database and MLflow's store left out):\n")
    say("| trials ended | resident MB | kB for each trial since the row before | processor ms a trial |")
    say("| ---: | ---: | ---: | ---: |")
    import mlflow.entities  # noqa: F401  (twenty megabytes that are no trial's)

    with made_up_home():
        decider = _on_nothing(a_decider(MEMORY_TRIALS, IN_MEMORY))
        tracker = Delivering("nowhere", a_search_run("memory"))
        _drive(decider, tracker, say)
        left = tracker.close(complete=True, patience_seconds=CLOSE_SECONDS)
    say(f"\n{left} runs were not delivered.")


def _on_nothing(decider: Decider) -> Decider:
    """The same search, its ledger mirrored from a database that keeps nothing."""
    storage = Forgetful()
    storage.create_new_study(decider.study.directions, decider.study.study_name)
    study = optuna.load_study(
        study_name=decider.study.study_name, storage=Mirror(storage, decider.study.study_name)
    )
    study.sampler = optuna.samplers.RandomSampler(seed=0)  # quick, and keeps nothing by itself
    return Decider(study, decider.job)


def _drive(decider: Decider, tracker: Tracker, say: Callable[[str], None]) -> None:
    board = Board(
        Console(file=io.StringIO()),
        expected=MEMORY_TRIALS,
        done=0,
        guess_left=None,
        seconds=lambda assignment: 1.0,
        trouble=lambda: None,
    )
    chance, step, before = random.Random(0), MEMORY_TRIALS // MEMORY_LOOKS, 0
    began = time.process_time()
    for ended in range(1, MEMORY_TRIALS + 1):
        _run_one(decider, (board, tracker), chance.random())
        if ended % step == 0:
            resident = _resident_bytes()
            more = f"{(resident - before) / step / 1e3:.1f}" if before else ""
            cost = (time.process_time() - began) / step * 1e3
            say(f"| {ended:,} | {resident / 1e6:,.0f} | {more} | {cost:.1f} |")
            before, began = resident, time.process_time()


def _run_one(decider: Decider, watchers: Sequence[Board | Tracker], score: float) -> None:
    """A trial, with all that the driver hears of it."""
    assignment = decider.next()
    if assignment is None:
        raise RuntimeError("the space was exhausted")
    for watcher in watchers:
        watcher.started(assignment)
        watcher.epoch(assignment, {**row(1, score), "result": result(assignment.signature, score)})
    settle(decider, assignment, score)
    for watcher in watchers:
        watcher.ended(assignment, Outcome.STOPPED, "")  # MLflow gets no files of it


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
