"""Reports to MLflow: how long they keep the driver, when they are there, and that none is lost.

A simulated trial writes its epochs into its folder as a worker does; the driver's side is the real one.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import numpy as np

from search import files
from search.outcome import Outcome
from search.recording.delivering import EPOCH_METRICS
from search.recording.marks import SIGNATURE
from search.recording.tracking import Tracker
from search.spaces import Point
from search.study.assignment import Assignment

from .instant import a_decider, a_search_run, made_up_home, row

START_SECONDS, CLOSE_SECONDS = 120.0, 180.0
LOOK_SECONDS = 0.05
LOCAL_WRITERS = 8
SERVER_STORE = "server.db"


@dataclass
class Reports:
    """Of every report: the seconds that it kept the driver, and those until MLflow had it.

    left: those that never arrived. troubles: what went wrong on the way.
    """

    enqueued: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    left: int = 0
    troubles: set[str] = field(default_factory=set)


def tracking(writers: int, seconds: int, say: Callable[[str], None]) -> None:
    """A few trials, on the SQLite file that a search has unless told otherwise."""
    del writers
    with made_up_home() as home:
        store = home / "mlflow.db"
        found, stored = _measure(f"sqlite:///{store}", store, LOCAL_WRITERS, max(2, seconds // 4))
    _table("MLflow's SQLite file, in the driver", LOCAL_WRITERS, found, stored, say)


def server(writers: int, seconds: int, say: Callable[[str], None]) -> None:
    """Many trials at once, through `mlflow server` on SQLite with one worker."""
    with made_up_home() as home, mlflow_server(home) as uri:
        found, stored = _measure(uri, home / SERVER_STORE, writers, seconds)
    _table("`mlflow server` on SQLite, one worker", writers, found, stored, say)


def _table(where: str, writers: int, found: Reports, stored: int, say: Callable[[str], None]) -> None:
    enqueued, delivered = np.array(found.enqueued) * 1e3, np.array(found.delivered)
    reports, wanted = len(enqueued), len(enqueued) * len(EPOCH_METRICS)
    say(f"{where}: {writers} trials that report once a second, {reports:,} reports:\n")
    say("| what | median | 99th percentile | worst | goal |")
    say("| --- | ---: | ---: | ---: | --- |")
    middle, late, worst = np.percentile(enqueued, (50, 99, 100))
    say(f"| a report keeps the driver, ms | {middle:.3f} | {late:.3f} | {worst:.1f} | 0.1, 99 % under 1 |")
    middle, late, worst = np.percentile(delivered, (50, 99, 100))
    say(f"| until it is in MLflow, s | {middle:.1f} | {late:.1f} | {worst:.1f} | 99 % under 60 |")
    say(f"\nMetrics in the store afterwards: {stored:,} of {wanted:,}; runs not up to date: {found.left};")
    say(f"errors: {'; '.join(sorted(found.troubles)) or 'none'}.")


def _measure(uri: str, store: Path, writers: int, seconds: int) -> tuple[Reports, int]:
    """Let them report, wait for all of it, and count what the store holds."""
    trials = _trials(writers)
    found = Reports()
    tracker = Tracker(uri, a_search_run("reports"))
    for trial in trials:
        tracker.started(trial)
    with _watched(tracker, trials, found) as sent:
        for epoch in range(1, seconds + 1):
            _report_all(tracker, trials, epoch, found, sent)
        _wait_for(lambda: len(found.delivered) == len(found.enqueued), CLOSE_SECONDS)
    for trial in trials:
        tracker.ended(trial, Outcome.STOPPED, "")
    found.left = tracker.close(complete=True, patience_seconds=CLOSE_SECONDS)
    return found, _stored(store, writers)


def _trials(count: int) -> list[Assignment]:
    """Different ones: of one network, each with its own seed."""
    job, point = a_decider(1).job, Point("samplecnn_m3_n5_s81")
    return [Assignment(seed, job.resolve(point, seed)) for seed in range(count)]


def _report_all(
    tracker: Tracker, trials: Sequence[Assignment], epoch: int, found: Reports, sent: list[list[float]]
) -> None:
    """One second, in which each trial ends an epoch: its worker writes it down, and the driver is told."""
    second = time.perf_counter()
    for at, trial in enumerate(trials):
        told = row(epoch, 0.5)
        _write_epochs(trial, epoch)
        time.sleep(max(0.0, second + at / len(trials) - time.perf_counter()))
        began = time.perf_counter()
        tracker.epoch(trial, told)
        ended = time.perf_counter()
        sent[at].append(ended)
        found.enqueued.append(ended - began)
    time.sleep(max(0.0, second + 1 - time.perf_counter()))


def _write_epochs(trial: Assignment, epochs: int) -> None:
    """As a worker does, but without waiting for this machine's one disk, on which 256 workers would be."""
    path = files.trial_folder(trial.signature) / files.EPOCHS
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps([row(epoch, 0.5) for epoch in range(1, epochs + 1)]))
    part.replace(path)


@contextmanager
def _watched(tracker: Tracker, trials: Sequence[Assignment], found: Reports) -> Iterator[list[list[float]]]:
    """Look again and again how far each trial's run is; gives the times at which each of its epochs was sent."""
    sent: list[list[float]] = [[] for _ in trials]
    copies = [tracker._copies[trial.signature] for trial in trials]
    over = Event()

    def look() -> None:
        arrived = [0] * len(trials)
        while not over.wait(LOOK_SECONDS):
            now = time.perf_counter()
            for at, copy in enumerate(copies):
                known = min(copy.epochs, len(sent[at]))
                found.delivered += [now - when for when in sent[at][arrived[at] : known]]
                arrived[at] = max(arrived[at], known)
            if tracker.trouble:
                found.troubles.add(tracker.trouble)

    watching = Thread(target=look)
    watching.start()
    try:
        yield sent
    finally:
        over.set()
        watching.join()


def _stored(store: Path, writers: int) -> int:
    """How many metrics the store holds, by its own tables: each epoch of each run once."""
    with closing(sqlite3.connect(store)) as tables:
        ((runs,),) = tables.execute("SELECT COUNT(*) FROM tags WHERE key = ?", (SIGNATURE,))
        if runs != writers:
            raise RuntimeError(f"{runs} runs of {writers} trials are in MLflow")
        found = tables.execute("SELECT COUNT(*) FROM (SELECT DISTINCT run_uuid, key, step FROM metrics)")
        return int(found.fetchone()[0])


def _wait_for(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """A server of MLflow's on a free port of 127.0.0.1, ended with the context; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--workers", "1", "--backend-store-uri", f"sqlite:///{home / SERVER_STORE}"]
    words += ["--artifacts-destination", (home / "artifacts").as_uri()]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "1"}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            words, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(lambda: process.poll() is not None or _answers(port), START_SECONDS)
            if not _answers(port):
                raise OSError(f"mlflow server did not start: {(home / 'server.log').read_text()[-500:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
