"""Chaos: a search whose driver, nodes and workers are killed at random, and what must be true afterwards.

    python -m tests.chaos kills=20 seed=0

Every kill is SIGKILL and hits a process of this program's own cluster. Each trial is a real one, of a small network.
A killed driver is started again with the same command, a killed node is followed by a new one.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ray_nodes import Nodes, ray_nodes

EPOCHS = 3
TRIALS_PER_KILL = 4  # so that the search lasts longer than the chaos
LONGEST_SECONDS = 600.0  # for a driver to do anything at all, on a machine that has other things to do
SPACE = '''"""Chaos: one small network at many rates."""
from search.spaces import Point
GRID = [{{"rate": round(0.001 * n, 3)}} for n in range(1, {count} + 1)]
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


@dataclass
class Chaos:
    """The search that is to suffer, in a home of its own."""

    home: Path
    nodes: Nodes
    kills: int
    seed: int
    say: Callable[[str], None]
    killed: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    results: dict[str, int] = field(default_factory=dict)  # when a result was first seen, by signature

    def __post_init__(self) -> None:
        self.count = TRIALS_PER_KILL * self.kills
        self.space = self.home / "chaos.py"
        self.space.write_text(SPACE.format(count=self.count), "utf-8")
        self.began, self.random = time.monotonic(), random.Random(self.seed)
        self.log = self.home / "drivers.log"
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

    def run(self) -> None:
        """Kill as often as was asked, then let the search come to its end."""
        try:
            while sum(self.killed.values()) < self.kills:
                self.wait()
                self.kill()
            while self.finish() == 1:  # trials that were lost too often are tried again
                self.start()
        finally:
            self.driver.kill()
            self.driver.wait()

    def wait(self) -> None:
        """Until a few epochs more are there, or for some seconds: into the middle of something."""
        if self.random.random() < 0.3:
            end = time.monotonic() + self.random.uniform(0, 12)
            self.until(lambda: time.monotonic() > end)
            return
        wanted = self.epochs() + self.random.randint(1, 4)
        self.until(lambda: self.epochs() >= wanted)

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST_SECONDS
        while not reached():
            self.look()
            assert time.monotonic() < deadline, f"nothing went on for {LONGEST_SECONDS:g} s: {self.said()}"
            assert self.driver.poll() is None, f"the driver ended, {self.driver.returncode}: {self.said()}"
            time.sleep(0.1)  # a poll

    def kill(self) -> None:
        kind = self.random.choice(["driver", "node", "worker"])
        trainers = sorted(self.nodes.trainers())
        if kind == "worker" and not trainers:
            kind = "driver"
        if kind == "driver":
            self.driver.kill()
            self.driver.wait()
        elif kind == "node":
            self.nodes.kill(self.random.choice(self.nodes.all))
        else:
            os.kill(self.random.choice(trainers), 9)
        self.killed[kind] += 1
        at = f"{time.monotonic() - self.began:6.1f} s"
        self.say(
            f"{at}  kill {sum(self.killed.values()):2}: {kind:6}  {self.epochs()} epochs, {len(self.results)} ended"
        )
        if kind == "driver":
            self.start()
        if kind == "node":
            self.nodes.add()

    def finish(self) -> int:
        """The end of the driver: its exit code."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while self.driver.poll() is None:
            self.look()
            assert time.monotonic() < deadline, f"the search did not end: {self.said()}"
            time.sleep(0.1)  # a poll
        self.look()
        assert self.driver.returncode in (0, 1), self.said()
        self.say(f"{time.monotonic() - self.began:6.1f} s  the driver ended with {self.driver.returncode}")
        return self.driver.returncode

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")[-4000:]

    def folders(self) -> list[Path]:
        return sorted((self.home / "trials").glob("*"))

    def epochs(self) -> int:
        """Epochs of all trials so far."""
        return sum(len(rows(folder)) for folder in self.folders())

    def look(self) -> None:
        """Note each result when it is first seen."""
        for folder in self.folders():
            if folder.name not in self.results and (folder / "result.json").exists():
                self.results[folder.name] = (folder / "result.json").stat().st_mtime_ns


def rows(folder: Path) -> list[dict]:
    file = folder / "epochs.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else []


def findings(chaos: Chaos) -> dict[str, str]:
    """What is wrong after the chaos, by what should have been true; nothing where all is well."""
    return {**in_folders(chaos), **in_ledger(chaos), **in_mlflow(chaos)}


def in_folders(chaos: Chaos) -> dict[str, str]:
    whole = list(range(1, EPOCHS + 1))
    again, odd = [], []
    for folder in chaos.folders():
        result = folder / "result.json"
        written = result.stat().st_mtime_ns if result.exists() else 0
        # A trial that starts to train writes its settings down.
        if (
            written != chaos.results.get(folder.name)
            or (folder / "settings.json").stat().st_mtime_ns > written
        ):
            again.append(folder.name)
        if [row["epoch"] for row in rows(folder)] != whole:
            odd.append(f"{folder.name}: {[row['epoch'] for row in rows(folder)]}")
    found = {"no finished trial ran twice": again, "epochs in the folders are monotone without gaps": odd}
    return {claim: str(wrong) for claim, wrong in found.items() if wrong}


def in_ledger(chaos: Chaos) -> dict[str, str]:
    import optuna
    from optuna.trial import TrialState

    url = f"sqlite:///{chaos.home / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    rates = sorted(trial.params["rate"] for trial in done)
    wanted = sorted(round(0.001 * n, 3) for n in range(1, chaos.count + 1))
    signatures = Counter(trial.user_attrs["signature"] for trial in done)
    odd = [
        f"{trial.number}: {trial.intermediate_values}"
        for trial in done
        if trial.intermediate_values
        != {
            row["epoch"]: row["valid_roc_auc"]
            for row in rows(chaos.home / "trials" / trial.user_attrs["signature"])
        }
    ]
    left = Counter(trial.state.name for trial in trials if not trial.state.is_finished())
    found = {
        "what finished is what was planned": rates != wanted and f"{len(rates)} of {len(wanted)}",
        "a signature is finished once": [each for each, times in signatures.items() if times > 1],
        "the ledger holds the epochs of the folders": odd,
        "nothing runs or waits": dict(left),
    }
    return {claim: str(wrong) for claim, wrong in found.items() if wrong}


def in_mlflow(chaos: Chaos) -> dict[str, str]:
    from search.tracking import SIGNATURE, STUDY, client

    mlflow = client(f"sqlite:///{chaos.home / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("demo-chaos")
    runs = mlflow.search_runs([experiment.experiment_id], max_results=5000)
    times = Counter(run.data.tags[SIGNATURE] for run in runs if SIGNATURE in run.data.tags)
    steps = {
        run.info.run_name: [each.step for each in mlflow.get_metric_history(run.info.run_id, "valid_roc_auc")]
        for run in runs
        if SIGNATURE in run.data.tags
    }
    found = {
        "one MLflow run per signature": [each for each, count in times.items() if count > 1],
        "every signature is in MLflow": set(chaos.results) ^ set(times),
        "one MLflow run per search": sum(STUDY in run.data.tags for run in runs) != 1,
        "every run is FINISHED": dict(
            Counter(run.info.status for run in runs if run.info.status != "FINISHED")
        ),
        "MLflow has each epoch once": {k: v for k, v in steps.items() if v != list(range(1, EPOCHS + 1))},
    }
    return {claim: str(wrong) for claim, wrong in found.items() if wrong}


def chaos(home: Path, kills: int, seed: int, say: Callable[[str], None]) -> tuple[Chaos, dict[str, str]]:
    """Run it in a home that has demo. Returns what happened, and what is wrong."""
    with ray_nodes(2) as nodes:
        made = Chaos(home, nodes, kills, seed, say)
        made.run()
    return made, findings(made)


def main(typed: list[str]) -> int:
    from datasets.build import build

    words = {"kills": 20, "seed": 0} | {
        key: int(value) for key, _, value in (w.partition("=") for w in typed)
    }
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = Path(folder)
        build("demo", workers=1, out=home)
        made, wrong = chaos(home, words["kills"], words["seed"], lambda line: print(line, flush=True))
    killed = ", ".join(f"{count} of a {kind}" for kind, count in sorted(made.killed.items()))
    print(
        f"\nkills: {killed}; drivers: {made.drivers}; trainings: {made.count}, {len(made.results)} finished"
    )
    for claim, what in wrong.items():
        print(f"WRONG: {claim}: {what}")
    print("nothing is wrong" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
