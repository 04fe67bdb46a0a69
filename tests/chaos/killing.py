"""Chaos: a search whose driver, nodes and workers are killed at random, with a fixed seed.

    python -m tests.chaos kills=20 trials=60 seed=0

Every kill is SIGKILL and hits a process of this program's own cluster. Each trial is a real one, of a small network.
A killed driver is started again with the same command, a killed node is followed by a new one.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .checks import EPOCHS, rows
from .nodes import Nodes

KINDS = ("driver", "node", "worker")
EPOCHS_FOR_EACH = 6  # kept for each kill that is still to come
LONGEST_SECONDS = 600.0  # without anything that goes on, on a machine that has other things to do
SPACE = '''"""Chaos: one small network at many rates."""
from search.spaces import Point
GRID = [{{"rate": rate}} for rate in {rates}]
def sample(trial):
    rate = trial.suggest_float("rate", 0.0001, 10.0)
    return Point("samplecnn_m3_n3_s729", training={{"first_learning_rate": rate}})
'''
WORDS = (
    "dataset=demo",
    "budget=small",
    "budget.learning_rates=[0.03]",
    f"budget.epochs_per_stage={EPOCHS}",
    "budget.patience=100",
    "budget.multiply_adds_per_epoch=1",
)


class Chaos:
    """A search in a home of its own, on nodes of its own, that is to be killed so often while it trains so many.

    killed: how often what was. drivers: how often the command was typed.
    seen:   the signature of each result, and when it had been written when it was first seen.
    """

    def __init__(
        self, home: Path, nodes: Nodes, kills: int, trials: int, seed: int, say: Callable[[str], None]
    ) -> None:
        self.home, self.nodes, self.say = home, nodes, say
        self.rates = [round(0.001 * n, 3) for n in range(1, trials + 1)]
        self.killed: Counter[str] = Counter()
        self.seen: dict[str, int] = {}
        self.random, self.began = random.Random(seed), time.monotonic()
        self.plan = [KINDS[at % len(KINDS)] for at in range(kills)]
        self.random.shuffle(self.plan)
        self.space, self.log = home / "chaos.py", home / "drivers.log"
        self.space.write_text(SPACE.format(rates=self.rates), "utf-8")
        self.drivers = 0
        self.driver = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """The same command, once more."""
        self.drivers += 1
        words = [f"space={self.space}", *WORDS, f"cluster.address={self.nodes.address}"]
        environment = {**os.environ, "WAVEZOO_HOME": str(self.home), "MLFLOW_TRACKING_URI": ""}
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "search.run", *words], env=environment, stdout=log, stderr=log
            )
        return self.driver

    def run(self) -> int:
        """Kill as often as was asked, then let the search come to its end. Returns its last exit code."""
        try:
            for number, kind in enumerate(self.plan, 1):
                self.wait(len(self.plan) - number + 1)
                self.kill(kind)
                self.tell(f"kill {number:2}: {kind}")
                self.mend(kind)
            while (code := self.end()) == 1 and self.drivers < 2 * len(self.plan):
                self.start()  # trials that were lost too often are tried again
            return code
        finally:
            self.driver.kill()
            self.driver.wait()

    def wait(self, kills_left: int) -> None:
        """Until some epochs more are there, or for some seconds: into the middle of something.

        A quick machine is not given so long that the search comes to its end before the last kill.
        """
        last = len(self.rates) * EPOCHS - EPOCHS_FOR_EACH * kills_left
        if self.random.random() < 0.3:
            end = time.monotonic() + self.random.uniform(0, 12)
            self.until(lambda: time.monotonic() > end or self.epochs() >= last)
        else:
            wanted = min(self.epochs() + self.random.randint(1, 4), last)
            self.until(lambda: self.epochs() >= wanted)

    def kill(self, kind: str) -> None:
        if kind == "worker":
            self.until(lambda: self.nodes.trainers())
        assert self.driver.poll() is None, f"it ended too early, with {self.driver.returncode}: {self.said()}"
        if kind == "driver":
            self.driver.kill()
            self.driver.wait()
        elif kind == "node":
            self.nodes.kill(self.random.choice(self.nodes.all))
        else:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.random.choice(sorted(self.nodes.trainers())), signal.SIGKILL)
        self.killed[kind] += 1

    def mend(self, kind: str) -> None:
        """What a person, or whoever looks after the cluster, does next."""
        if kind == "driver":
            self.start()
        if kind == "node":
            self.nodes.add()

    def end(self) -> int:
        """The end of the driver: its exit code."""
        self.until(lambda: self.driver.poll() is not None)
        self.tell(f"driver {self.drivers} ended with {self.driver.returncode}")
        assert self.driver.returncode in (0, 1), self.said()
        return self.driver.returncode

    def until(self, reached: Callable[[], object]) -> None:
        """Wait, with an eye on the results; complain if nothing goes on any more."""
        epochs, since = -1, time.monotonic()
        while not reached():
            if self.epochs() > epochs:
                epochs, since = self.epochs(), time.monotonic()
            assert time.monotonic() - since < LONGEST_SECONDS, f"nothing goes on: {self.said()}"
            if self.driver.poll() is not None:
                break
            time.sleep(0.1)  # a poll
        self.look()

    def look(self) -> None:
        """Note each result when it is first seen."""
        for folder in self.folders():
            if folder.name not in self.seen and (folder / "result.json").exists():
                self.seen[folder.name] = (folder / "result.json").stat().st_mtime_ns

    def tell(self, what: str) -> None:
        at = time.monotonic() - self.began
        self.say(f"{at:6.1f} s  {what:24}  {self.epochs():3} epochs, {len(self.seen):2} trials ended")

    def said(self) -> str:
        """What the drivers printed last."""
        return self.log.read_text("utf-8", errors="replace")[-4000:]

    def folders(self) -> list[Path]:
        return sorted((self.home / "trials").glob("*"))

    def epochs(self) -> int:
        """Epochs of all trials so far."""
        return sum(len(rows(folder)) for folder in self.folders())
