"""What stopping early saves and loses: `python -m tests.benchmarks.pruning` prints a Markdown table.

No network is trained. The learning curves are made up, but in the shape of the paper's schedule: five stages whose
rates fall fivefold, with a jump in AUC at the start of each and stages that end after different numbers of epochs.
Each of Table 2's networks gets its published AUC as its level; deep ones learn more slowly in the first stage, so
that ranks at equal epochs mislead. Of chance there is 0.0015 from run to run and 0.001 from epoch to epoch.

Finding: compared at equal epochs, pruners save much and lose the best network in most searches (successive halving
88 % and 19 of 20); at the end of stages median saves 23 % and lost it in none of 20. `none` stays the default all the
same: the default space is a table of the paper, of which every row is wanted, and these curves are made up.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import mean

import optuna
from optuna.trial import TrialState

import zoo
from search.settings import Settings
from search.study.pruning import Epochs, Stopper, pruner_of
from search.words import group_names, read_words

SEEDS, AT_ONCE = 20, 8
GAPS = (0.012, 0.005, 0.002, 0.0007, 0.0)  # how far below its level a network stays in each stage
RUN_NOISE, EPOCH_NOISE = 0.0015, 0.001


@dataclass(frozen=True)
class Outcome:
    """Of one search: epochs trained and those that training all takes, best AUC found and best there was."""

    epochs: int
    all_epochs: int
    best: float
    best_of_all: float
    found_it: bool


def curve(level: float, depth: int, chance: random.Random) -> Epochs:
    """(stage, AUC) of each epoch of one training."""
    level, slow = level + chance.gauss(0, RUN_NOISE), depth / 2 * chance.uniform(0.7, 1.4)
    epochs: list[tuple[int, float]] = []
    start = level - 0.15
    for stage, gap in enumerate(GAPS):
        end = level - gap * chance.uniform(0.6, 1.4)
        length = chance.randint(12, 25) if stage == 0 else chance.randint(5, 9)
        pace = slow if stage == 0 else 1.5
        for epoch in range(length):
            auc = end - (end - start) * 2.718 ** (-(epoch + 1) / pace)
            epochs.append((stage, auc + chance.gauss(0, EPOCH_NOISE)))
        start = epochs[-1][1]
    return epochs


def curves(seed: int) -> list[Epochs]:
    """Those of Table 2's networks, in the random order of a search that knows nothing."""
    chance = random.Random(seed)
    entries = [zoo.entry(name) for name in zoo.names(table="table2")]
    made = [curve(each.paper[0].auc, each.depth or 0, chance) for each in entries]
    chance.shuffle(made)
    return made


def final(epochs: Epochs) -> float:
    """The AUC of a training that reached its end."""
    return max(auc for stage, auc in epochs if stage == epochs[-1][0])


def search(trials: list[Epochs], settings: Settings, name: str) -> Outcome:
    """Train all of them, so many at once and epoch by epoch, until each has ended or been stopped."""
    stopper = Stopper(name, pruner_of(settings), settings.pruner.rungs)
    waiting: Iterator[int] = iter(range(len(trials)))
    running: dict[int, int] = {}
    spent, reached = 0, []
    while True:
        while len(running) < AT_ONCE and (number := next(waiting, None)) is not None:
            stopper.enter(number)
            running[number] = 0
        if not running:
            break
        for number in list(running):
            stopper.report(number, *trials[number][running[number]])
            running[number] += 1
            spent += 1
            if running[number] == len(trials[number]):
                reached.append(final(trials[number]))
                stopper.end(number, TrialState.COMPLETE, reached[-1])
                del running[number]
            elif stopper.should_stop(number):
                stopper.end(number, TrialState.PRUNED)
                del running[number]
    best = max(map(final, trials))
    found = max(reached, default=0.0)
    return Outcome(spent, sum(map(len, trials)), found, best, found == best)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| pruner | compares | epochs saved | AUC lost, mean | AUC lost, worst | best found |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in group_names("pruner"):
        settings = read_words([f"pruner={name}", "budget=paper"])
        if not settings.pruner.stops or settings.pruner.rungs == "seed":
            continue  # replicates are another question than epochs
        for rungs in ("epoch", "stage"):
            wanted = replace(settings, pruner=replace(settings.pruner, rungs=rungs))
            found = [search(curves(seed), wanted, f"{name}-{seed}") for seed in range(SEEDS)]
            saved = mean(1 - each.epochs / each.all_epochs for each in found)
            lost = [each.best_of_all - each.best for each in found]
            hits = sum(each.found_it for each in found)
            print(
                f"| {name} | {rungs} | {saved:.0%} | {mean(lost):.4f} | {max(lost):.4f} | {hits} of {SEEDS} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
