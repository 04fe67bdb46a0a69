"""How soon a budget reaches the validation AUC of the paper's schedule, on real clips, in one run.

    python -m tests.benchmarks.recipes dataset=mtat

Words (key=value):
    dataset=mtat     as it was built under WAVEZOO_HOME; convention= for another than its own
    networks=A,B     by name (default: a frame-level one, one between, and 3^9)
    budgets=fast     beside the paper's, by the names of files in search/conf/budget/
    seeds=1          trainings of each
    device=cpu       or cuda
    precision=float32   or winograd or bf16 on cpu, tf32 or bf16 on cuda; for all budgets alike
    threads=1

Prints Markdown: of each training its updates and seconds, the best validation AUC, the test AUC of the weights that
count, and after how many updates it had the AUC that the paper's schedule came to with the same seed; then the curves.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import words as typed
from datasets.errors import DatasetError
from search.settings import FLOAT32, Training

from .command import Say, device_and_precision, load, names, run, whole_numbers

BUDGETS = Path(__file__).parents[2] / "search" / "conf" / "budget"
PAPER = "paper"
NETWORKS = ("samplecnn_m3_n4_s729", "samplecnn_m3_n6_s81", "samplecnn_m3_n9_s3")
HEADS = (
    "network",
    "budget",
    "seed",
    "epochs",
    "updates",
    "s",
    "best valid AUC",
    "test AUC",
    "updates to the paper's",
)


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...] = NETWORKS
    budgets: tuple[str, ...] = ("fast",)
    dataset: str = "mtat"
    convention: str | None = None
    seeds: int = 1
    device: str = "cpu"
    precision: str = FLOAT32
    threads: int = 1


@dataclass(frozen=True)
class Course:
    """One training. curve: (updates, validation AUC) after each epoch."""

    curve: list[tuple[int, float]]
    seconds: float
    test_auc: float

    @property
    def best(self) -> float:
        return max(auc for _, auc in self.curve)

    def updates_to(self, auc: float) -> int | None:
        """After how many updates it had this AUC; None if it never did."""
        return next((updates for updates, reached in self.curve if reached >= auc), None)


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    least = {"seeds": (1, 1), "threads": (1, 1)}
    given = typed.parse(
        words, ("networks", "budgets", "dataset", "convention", *least, "device", "precision")
    )
    device, precision = device_and_precision(given)
    budgets = tuple(given.get("budgets", "fast").split(","))
    if missing := [name for name in budgets if not (BUDGETS / f"{name}.yaml").is_file()]:
        raise DatasetError(f"budgets={missing[0]}: there is no such file in {BUDGETS}")
    about = given.get("dataset", "mtat"), given.get("convention")
    return Settings(
        names(given, NETWORKS),
        budgets,
        *about,
        **whole_numbers(given, least),
        device=device,
        precision=precision,
    )


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Train, and say the table as it grows. raises: DatasetError where there is no such data set or GPU."""
    import torch

    from search.trials import worker

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise DatasetError("device=cuda: this machine has no GPU that torch can use; take device=cpu")
    worker.prepare(wanted.threads)
    say(f"{wanted.dataset}, {wanted.device}, {wanted.precision}, load {load()}\n")
    say(f"| {' | '.join(HEADS)} |\n| --- | --- |{' ---: |' * (len(HEADS) - 2)}")
    curves = []
    for name in wanted.networks:
        for seed in range(wanted.seeds):
            paper = None
            for budget in (PAPER, *wanted.budgets):
                found = course(name, training_of(budget, wanted.precision), seed, wanted)
                paper = paper or found
                say(row(name, budget, seed, found, paper))
                told = " ".join(f"{updates}:{auc:.3f}" for updates, auc in found.curve)
                curves.append(f"{name} {budget} {seed}: {told}")
    say("\nValidation AUC after so many updates:\n")
    for line in curves:
        say(line)
    say(f"\nload after: {load()}")


def training_of(budget: str, precision: str) -> Training:
    """What the file of a budget says."""
    import yaml

    given: Mapping[str, Any] = yaml.safe_load((BUDGETS / f"{budget}.yaml").read_text())
    return Training(
        **{key: value for key, value in given.items() if key != "name"} | {"precision": precision}
    )


def course(name: str, training: Training, seed: int, wanted: Settings) -> Course:
    """Train a network by a budget."""
    import torch

    import zoo
    from search.scoring.metrics import score
    from search.trials.evaluation import evaluate
    from search.trials.feed import open_feed
    from search.trials.training import Fit

    entry = zoo.entry(name)
    train, valid, test = (
        open_feed(wanted.dataset, split, wanted.convention, entry, wanted.device)
        for split in ("train", "valid", "test")
    )
    torch.manual_seed(seed)
    network = entry.build(len(train.split.tags)).to(wanted.device)
    training = replace(training, batch_size=min(training.batch_size, len(train)))
    fit = Fit(network, train, valid, training, seed)
    began, per_epoch = time.perf_counter(), train.split.n_batches(training.batch_size)
    curve = [(each.epoch * per_epoch, each.valid_roc_auc) for each in fit]
    seconds = time.perf_counter() - began
    said = evaluate(network, test)
    return Course(curve, seconds, score(said.probabilities, test.split.labels, test.split.tags).roc_auc)


def row(name: str, budget: str, seed: int, found: Course, paper: Course) -> str:
    """A line of the table."""
    reached = found.updates_to(paper.best)
    cells = [
        name,
        budget,
        str(seed),
        str(len(found.curve)),
        f"{found.curve[-1][0]:,}",
        f"{found.seconds:.1f}",
    ]
    cells += [f"{found.best:.4f}", f"{found.test_auc:.4f}", "never" if reached is None else f"{reached:,}"]
    return "| " + " | ".join(cells) + " |"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
