"""How long it takes until something happens: help, a plan, and the first training of a search.

    python -m tests.benchmarks.start

Words (key=value):
    repeats=3     of each; the median is told, and the least and the most

Prints a Markdown table. Each is a process of its own. The data set is rendered before, in a temporary home, and each
command is run once before, uncounted, so that Python's compiled files are there, as on any machine where the commands
have run once. The first training begins when its trial has made what it trains and written its settings.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from datasets import words as typed

from .command import Say, load, run, whole_numbers

WORDS = ("repeats",)
SEARCH = ("space=smoke", "dataset=demo", "budget=small")
PATIENCE_SECONDS = 300.0


def benchmark(words: Sequence[str], say: Say = print) -> None:
    """Print the table. raises: DatasetError for a wrong word."""
    repeats = whole_numbers(typed.parse(words, WORDS), {"repeats": (1, 3)})["repeats"]
    say(f"{os.cpu_count()} cores, load {load()}; {repeats} of each, {' '.join(SEARCH)}\n")
    say("| from the command to | median (s) | least | most |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        home = Path(folder)
        _to_the_end(home, "datasets.build", "name=demo")
        for what, measure in (
            ("the end of `--help`", lambda: _to_the_end(home, "search.run", "--help")),
            ("the end of a plan", lambda: _to_the_end(home, "search.run", *SEARCH, "plan=true")),
            ("the first training", lambda: first_training(home)),
        ):
            measure()
            took = sorted(measure() for _ in range(repeats))
            say(f"| {what} | {statistics.median(took):.1f} | {took[0]:.1f} | {took[-1]:.1f} |")
    say(f"\nLoad {load()} after.")


def _to_the_end(home: Path, module: str, *words: str) -> float:
    """Seconds of a command. raises: CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", module, *words], env=_environment(home), capture_output=True, check=True
    )
    return time.perf_counter() - began


def first_training(home: Path) -> float:
    """Seconds until a trial of a new search has written its settings; the search is then interrupted."""
    known, began = _settings(home), time.perf_counter()
    search = subprocess.Popen(
        [sys.executable, "-m", "search.run", *SEARCH, f"seed={len(known)}"],
        env=_environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        while not _settings(home) - known:
            if search.poll() is not None or time.perf_counter() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"no training began within {PATIENCE_SECONDS:g} s")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        search.send_signal(signal.SIGINT)
        search.wait()


def _settings(home: Path) -> set[Path]:
    return set(home.glob("trials/*/settings.json"))


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "WAVEZOO_HOME": str(home), "MLFLOW_TRACKING_URI": "", "WAVEZOO_STORAGE": ""}


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", benchmark)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
