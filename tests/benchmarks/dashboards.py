"""How long a page of the dashboards takes with many runs in the store: the first of a process, and the next one.

    python -m tests.benchmarks.dashboards

Words (key=value):
    trials=1000    trainings of one search, all of one protocol
    epochs=30      of each

Prints a Markdown table. Each page is made in a process of its own, from a ledger and trial folders in a temporary home.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from datasets import words as typed
from datasets.errors import DatasetError

TAGS, CLIPS, RESAMPLES, ARTISTS = 50, 4332, 1000, 230
PAGES = ("paper", "search", "leaderboard")
ASIDE_SECONDS = 120.0


def make(home: Path, trials: int, epochs: int) -> None:
    """A search in the ledger, with a folder for each of its trainings as one that has ended leaves it."""
    import optuna

    from search.study.records import About

    os.environ["WAVEZOO_HOME"] = str(home)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{home / 'studies.db'}"
    about = About(
        "Which is best?", None, "paper: the paper's schedule", "python -m search.run", planned=trials
    )
    study = optuna.create_study(storage=url, study_name="many", direction="maximize")
    study.set_user_attr("about", asdict(about))
    draws = random.Random(0)
    made = [_settings(number, draws) for number in range(trials)]
    world = np.random.default_rng(0)
    shared = {unit: world.normal(size=RESAMPLES) for unit in ("clip", "artist")}
    for number, (settings, _) in enumerate(made):
        _leave(settings, 0.85 + 0.05 * draws.random(), epochs, shared, number)
    _enter(home / "studies.db", made, epochs)


def _settings(number: int, draws: random.Random) -> tuple[Any, dict[str, tuple[Any, str]]]:
    """A training of the joint space, and what the sampler asked for."""
    import zoo
    from search.settings import Training, TrialSettings

    networks = zoo.names(table="table2")
    name, dropout = draws.choice(networks), draws.randrange(7) / 10
    rate = 0.002 * 25 ** draws.random()
    entry = zoo.entry(name).with_options(dropout=dropout)
    training = Training().changed(first_learning_rate=rate)
    settings = TrialSettings(name, entry.options, training, 0, "mtat", "f00d", "paper", f"t{number // 10**6}")
    asked = {
        "network": (float(networks.index(name)), _way("Categorical", choices=networks)),
        "dropout": (dropout, _way("Float", low=0.0, high=0.6, step=0.1, log=False)),
        "learning_rate": (rate, _way("Float", low=0.002, high=0.05, step=None, log=True)),
    }
    return settings, asked


def _way(kind: str, **attributes: Any) -> str:
    return json.dumps({"name": f"{kind}Distribution", "attributes": attributes})


def _leave(settings: Any, auc: float, epochs: int, shared: dict[str, Any], number: int) -> None:
    from search import files
    from search.scoring import resamples
    from search.scoring.resamples import Resampled

    own = np.random.default_rng(number)
    scores = {"roc_auc": auc, "pr_auc": 0.3, "tags_scored": TAGS, "loss": 0.1}
    for end in ("", "_by_artist"):
        scores |= {f"roc_auc_low{end}": auc - 0.006, f"roc_auc_high{end}": auc + 0.006}
    tags = [
        {"tag": f"tag {at}", "positives": 40 + 9 * at, "roc_auc": auc, "average_precision": 0.3}
        for at in range(TAGS)
    ]
    protocol = {
        "dataset": "mtat",
        "fingerprint": "f00d",
        "convention": "paper",
        "split": "test",
        "tag_hash": "t",
    }
    protocol |= {"clips": CLIPS, "sample_rate_hz": 22050, "segments_per_clip": 10, "tags_scored": TAGS}
    told = {
        "signature": settings.signature(),
        "network": settings.network,
        "epochs": epochs,
        "seconds": 60.0 * epochs,
    }
    result = {**told, "valid": scores, "test": scores, "subsets": {}, "tags": tags, "protocol": protocol}
    names = ("train_loss", "valid_loss", "valid_roc_auc", "valid_pr_auc")
    rows = [
        {
            "epoch": at + 1,
            "stage": at // 8,
            "learning_rate": 0.01,
            "seconds": 60.0,
            "new_best": True,
            "last": False,
        }
        | dict.fromkeys(names, auc - 0.3 / (at + 1))
        | {"micro_batch_size": 23}
        for at in range(epochs)
    ]
    folder = files.trial_folder(settings.signature())
    for name, record in ((files.SETTINGS, settings.to_json()), (files.EPOCHS, rows), (files.RESULT, result)):
        files.write_json(folder / name, record)
    values = {
        f"{split}.{unit}.{metric}": auc + 0.003 * (shared[unit] + 0.3 * own.normal(size=RESAMPLES))
        for split in ("valid", "test")
        for unit in ("clip", "artist")
        for metric in ("roc_auc", "pr_auc")
    }
    groups = {f"{split}.{unit}": count for split in ("valid", "test") for unit, count in _units().items()}
    resamples.write(folder / files.RESAMPLES, Resampled(values, groups, dict.fromkeys(groups, "same")))


def _units() -> dict[str, int]:
    return {"clip": CLIPS, "artist": ARTISTS}


def _enter(file: Path, made: Sequence[tuple[Any, dict[str, tuple[Any, str]]]], epochs: int) -> None:
    """The trainings into Optuna's tables at once; through Optuna they take minutes."""
    ledger = sqlite3.connect(file)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    for trial, (settings, asked) in enumerate(made, 1):
        told = {
            "settings": json.dumps(settings.to_json()),
            "signature": settings.signature(),
            "multiply_adds": 1e15,
        }
        ledger.execute("INSERT INTO trials VALUES (?, ?, 1, 'COMPLETE', ?, ?)", (trial, trial - 1, now, now))
        _insert(
            ledger, "trial_user_attributes", [(trial, key, json.dumps(value)) for key, value in told.items()]
        )
        _insert(ledger, "trial_params", [(trial, key, value, way) for key, (value, way) in asked.items()])
        _insert(ledger, "trial_values", [(trial, 0, 0.9, "FINITE")])
        _insert(ledger, "trial_intermediate_values", [(trial, step, 0.9, "FINITE") for step in range(epochs)])
    ledger.commit()
    ledger.close()


def _insert(ledger: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    ledger.executemany(f"INSERT INTO {table} VALUES (NULL{', ?' * len(rows[0])})", rows)


def measure(name: str) -> dict[str, float]:
    """Seconds of one page in this process: until the program is loaded, of the first page, of the next, and its size.

    later: of the page when what is computed beside it has come in.
    """
    began = time.perf_counter()
    from dashboards import paper, ranking, rendering, searching
    from dashboards.reading import Reading

    pages = {"paper": paper.page, "search": searching.page, "leaderboard": ranking.page}
    shell = rendering.Shell(entries=[], address=lambda link: f"/{link.page}")
    loaded, reading = time.perf_counter(), Reading()

    def once() -> tuple[float, int]:
        start = time.perf_counter()
        html = rendering.whole(pages[name](reading, {}), shell)
        return time.perf_counter() - start, len(html)

    first, size = once()
    second, _ = once()
    start = time.perf_counter()
    reading.aside.wait(ASIDE_SECONDS)
    aside = time.perf_counter() - start
    later, _ = once()
    return {
        "loading": loaded - began,
        "first": first,
        "second": second,
        "aside": aside,
        "later": later,
        "size": size,
    }


def benchmark(trials: int, epochs: int, say: Any) -> None:
    say(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} before.\n")
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        make(Path(folder), trials, epochs)
        say(
            f"| page, {trials:,} trainings | the program is loaded, s | first page, s | next page, s | page, kB |"
        )
        say("| --- | ---: | ---: | ---: | ---: |")
        for name in PAGES:
            words = [sys.executable, "-m", "tests.benchmarks.dashboards", "measured", name]
            told = subprocess.run(
                words,
                env={**os.environ, "WAVEZOO_HOME": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(told.stdout)
            numbers = " | ".join(f"{found[key]:.2f}" for key in ("loading", "first", "later"))
            say(f"| {name} | {numbers} | {found['size'] / 1e3:,.0f} |")
    say(f"\nLoad {os.getloadavg()[0]:.1f} after.")


def main(words: list[str]) -> int:
    """Command line; returns the exit code: 0 measured, 2 refused with one line, 130 interrupted."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    if words[:1] == ["measured"]:
        print(json.dumps(measure(words[1])))
        return 0
    try:
        given = typed.parse(words, ("trials", "epochs"))
        trials, epochs = (int(given.get(key, default)) for key, default in (("trials", 1000), ("epochs", 30)))
        if trials < 2 or epochs < 1:
            raise DatasetError("give at least trials=2 and epochs=1")
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    try:
        benchmark(trials, epochs, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
