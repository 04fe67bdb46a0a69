"""What an instant trial costs through Ray Tune: as Tune comes, with its actors reused, and in a search of ours."""

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from search.recording.tracking import Tracker
from search.running import cluster, placing
from search.running.board import Board
from search.running.meter import Meter

from .instant import Instant, a_decider, a_search_run, made_up_home

GOAL_MS, STRETCH_MS = 60, 10
LOGGERS_OFF = "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"
DELIVERY_SECONDS = 60.0


class Stub(tune.Trainable):
    """A trial that is over at once, in an actor that may take the next."""

    def step(self) -> dict[str, Any]:
        return {"score": 1.0, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep; Tune asks at the end of each trial."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True


def _function(config: dict[str, Any]) -> dict[str, float]:
    return {"score": 1.0}


def instant_trials(trials: int, say: Callable[[str], None]) -> None:
    """Four ways on the same Ray, one after the other; ours twice, without MLflow and with it."""
    with made_up_home() as home, cluster.cluster(a_decider(1).job.settings.cluster, say) as room:
        with _loggers_as_they_come():
            fresh = _tune(_function, max(4, trials // 10), room.at_once, home, reuse=False)
            reused = _tune(Stub, trials // 2, room.at_once, home, reuse=True)
        alone, alone_core = _ours("alone", trials, room, [])
        tracker = Tracker(f"sqlite:///{home / 'mlflow.db'}", a_search_run("tracked"))
        tracked, tracked_core = _ours("tracked", trials, room, [tracker])
        began = time.perf_counter()
        late = tracker.close(complete=True, patience_seconds=DELIVERY_SECONDS)
        rest = time.perf_counter() - began
    say(f"An instant trial, {room.at_once} at a time (goal {GOAL_MS} ms with TPE, stretch {STRETCH_MS}):\n")
    say("| way | trials | ms a trial | times ours | processor ms of the driver |")
    say("| --- | ---: | ---: | ---: | ---: |")
    rows: Sequence[tuple[str, int, float, float | None]] = (
        ("Tune as it comes, random search", max(4, trials // 10), fresh, None),
        ("Tune with reused actors, random search", trials // 2, reused, None),
        ("ours: TPE, ledger in SQLite, board", trials, alone, alone_core),
        ("the same with MLflow on SQLite in the driver", trials, tracked, tracked_core),
    )
    for way, count, wall, core in rows:
        shown = "" if core is None else f"{core:.1f}"
        say(f"| {way} | {count} | {wall:,.1f} | {wall / alone:.2f} | {shown} |")
    say(f"\nAfter the last trial MLflow took {rest:.1f} s to catch up; {late} runs were not up to date then.")


def _tune(trainable: Any, trials: int, at_once: int, home: Path, *, reuse: bool) -> float:
    """Milliseconds a trial, all of it: also the actors' starts, which Tune as it comes has for every trial."""
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            num_samples=trials, max_concurrent_trials=at_once, reuse_actors=reuse, metric="score", mode="max"
        ),
        run_config=tune.RunConfig(name=f"reuse-{reuse}", storage_path=str(home / "tune"), verbose=0),
    )
    began = time.perf_counter()
    found = tuner.fit()
    if found.errors:
        raise RuntimeError(f"{len(found.errors)} of Tune's trials failed: {found.errors[0]}")
    return (time.perf_counter() - began) / trials * 1e3


def _ours(name: str, trials: int, room: placing.Room, more: Sequence[placing.Watcher]) -> tuple[float, float]:
    decider = a_decider(trials, f"study={name}", f"seed={len(name)}")
    instant = Instant()
    board = Board(
        Console(file=io.StringIO()),
        expected=trials,
        done=0,
        guess_left=None,
        seconds=lambda assignment: 1.0,
        trouble=lambda: None,
    )
    told: list[str] = []
    with board:
        placing.run_trials(
            name, decider, room, [instant, board, *more], {}, told.append, Meter(decider.job.settings.limits)
        )
    if told:
        raise RuntimeError("; ".join(told))
    if len(decider.ended()) != trials:
        raise RuntimeError(f"{len(decider.ended())} of {trials} instant trials ended")
    return instant.cost_ms()


@contextmanager
def _loggers_as_they_come() -> Iterator[None]:
    """Tune with the loggers that it has unless told otherwise, as the search tells it."""
    before = os.environ.pop(LOGGERS_OFF)
    try:
        yield
    finally:
        os.environ[LOGGERS_OFF] = before
