"""Trainings as a script's loop does them, one after the other in this process, with nothing kept and nobody told.

`python -m tests.benchmarks.plain_loop THREADS` reads the settings of each, a JSON list in one line, says that it is
ready, waits for another line, and says after each training, in JSON, both clocks and the test AUC.
"""

import json
import sys
import time

from search.scoring.metrics import score
from search.settings import TrialSettings
from search.trials import worker
from search.trials.beginning import Feeds, begun
from search.trials.evaluation import evaluate
from search.trials.team import ALONE


def main(threads: int) -> None:
    """Train what the first line says."""
    trainings = [TrialSettings.from_json(each) for each in json.loads(sys.stdin.readline())]
    worker.prepare(threads)
    print("ready", flush=True)
    sys.stdin.readline()
    for each in trainings:
        roc_auc = trained(each)
        told = {"wall": time.perf_counter(), "core": time.process_time(), "roc_auc": roc_auc}
        print(json.dumps(told), flush=True)


def trained(settings: TrialSettings) -> float:
    """The test AUC of a training with the weights that count."""
    feeds = Feeds()
    fit = begun(settings, "cpu", ALONE, feeds)
    for _ in fit:
        pass
    test = feeds.open(settings, "test", "cpu")
    return score(evaluate(fit.network, test).probabilities, test.split.labels, test.split.tags).roc_auc


if __name__ == "__main__":
    main(int(sys.argv[1]))
