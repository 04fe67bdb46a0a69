"""The rendered data set teaches what it claims to: a small network learns it, and nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import datasets
import zoo
from search.scoring.metrics import score
from search.settings import Training
from search.trials import worker
from search.trials.evaluation import evaluate
from search.trials.feed import Feed
from search.trials.training import Fit

NETWORK = "samplecnn_m3_n5_s81"
SCHEDULE = Training(
    learning_rates=(0.1, 0.02), epochs_per_stage=8, patience=8, batch_size=16, norm_momentum=0.1, crops=True
)


def auc_after(labels_of: "np.random.Generator | None", epochs: int) -> float:
    """Macro ROC-AUC on test after training; with a generator, on labels dealt out to the wrong clips."""
    threads = torch.get_num_threads()
    worker.prepare(threads)
    torch.manual_seed(0)
    entry = zoo.entry(NETWORK).with_options(filters="half", first=64, dropout=0.2)
    train, valid, test = (
        Feed(datasets.open("demo", split, entry.input_samples), entry) for split in ("train", "valid", "test")
    )
    if labels_of is not None:
        for feed in (train, valid):
            feed.split.labels = labels_of.permutation(feed.split.labels)
    schedule = replace(SCHEDULE, epochs_per_stage=epochs)
    fit = Fit(entry.build(len(train.split.tags)), train, valid, schedule, seed=0)
    for _ in fit:
        pass
    return score(evaluate(fit.network, test).probabilities, test.split.labels, test.split.tags).roc_auc


@pytest.mark.slow
@pytest.mark.usefixtures("demo")
def test_a_small_network_reaches_an_auc_of_085() -> None:
    assert auc_after(None, epochs=8) >= 0.85


@pytest.mark.slow
@pytest.mark.usefixtures("demo")
def test_on_shuffled_labels_it_stays_at_chance() -> None:
    assert auc_after(np.random.default_rng(0), epochs=2) == pytest.approx(0.5, abs=0.06)
