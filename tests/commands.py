"""Searches that a test starts, interrupts and looks at: their processes, their ledgers, their space of one network."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna

ONE = '''"""One: a single small network."""
from search.spaces import Point
GRID = [{}]
def sample(trial):
    return Point("samplecnn_m3_n3_s729")
'''


def start(home: Path, *words: str, fault: str = "") -> "subprocess.Popen[str]":
    """The command in a session of its own, as a terminal would start it: with Ctrl-C not ignored."""
    tests = Path(__file__).parent
    program = [str(tests / "faulty_trials.py"), fault] if fault else ["-m", "search.run"]
    path = os.pathsep.join([str(tests.parent), str(tests), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *program, *words],
        env={**os.environ, "WAVEZOO_HOME": str(home), "MLFLOW_TRACKING_URI": "", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def finish(home: Path, *words: str, code: int = 0, fault: str = "") -> str:
    """The command to its end: what it said."""
    process = start(home, *words, fault=fault)
    try:
        said, _ = process.communicate(timeout=400)
    finally:
        end(process)
    assert process.returncode == code, said
    return said


def end(process: "subprocess.Popen[str]") -> str:
    """Whatever became of the test, nothing of the command is left. Returns what it had said."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return "" if process.stdout is None or process.stdout.closed else process.communicate()[0]


def until(true: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 300) -> None:
    """Wait for something while the process runs; what it said is told if it never comes."""
    deadline = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"it never came: {end(process)}")
        time.sleep(0.05)  # a poll, not a guess


def of_this_home(home: Path) -> list[str]:
    """The titles of all processes that were started for a search in this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended meanwhile, or is not ours to look at
            continue
        if title and f"WAVEZOO_HOME={home}\0".encode() in environment:
            found.append(f"{process.name} {title.decode(errors='replace')[:80]}")
    return found


def workers(home: Path) -> list[int]:
    """The processes that train for the search in this home; between two steps they are called as their class is."""
    found = [line.split() for line in of_this_home(home)]
    names = "Trainable", "TrialProcess"
    return [
        int(pid) for pid, title, *_ in found if title.startswith("ray::") and any(n in title for n in names)
    ]


def nothing_left(home: Path, seconds: float = 15) -> bool:
    """Whether all processes of a search in this home end within this time."""
    deadline = time.monotonic() + seconds
    while of_this_home(home) and time.monotonic() < deadline:
        time.sleep(0.1)  # a poll, not a guess
    return not of_this_home(home)


def states(home: Path) -> list[str]:
    """How the ledger says that each trial stands."""
    url = f"sqlite:///{home / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=url).get_trials()]
