"""Training one network: the stream of epochs, and that nothing is lost or changed by an interruption."""

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import datasets
import zoo
from search import files, rescore
from search.failures import Diverged
from search.results import named
from search.scoring.metrics import score
from search.settings import Training, TrialSettings
from search.trials import worker
from search.trials.evaluation import evaluate
from search.trials.feed import open_feed
from search.trials.optimizer import Optimizer
from search.trials.training import Fit, copied
from search.trials.trial import Trial

SMALL = Training(learning_rates=(0.05, 0.01), epochs_per_stage=2, batch_size=8)
NETWORK = "samplecnn_m3_n3_s729"


def a_fit(training: Training = SMALL, network: str = NETWORK, segments: int = 24, seed: int = 1) -> Fit:
    torch.manual_seed(seed)
    entry = zoo.entry(network)
    train, valid = (open_feed("demo", split, None, entry) for split in ("train", "valid"))
    return Fit(entry.build(len(train.split.tags)), train, valid, training, seed, segments)


def settings(training: Training = SMALL, seed: int = 3) -> TrialSettings:
    card = datasets.card("demo")
    return TrialSettings(
        network=NETWORK,
        options=zoo.entry(NETWORK).options,
        training=replace(training, multiply_adds_per_epoch=24 * 5.2e6),
        seed=seed,
        dataset="demo",
        fingerprint=card.fingerprint,
        convention=card.default_convention,
        tag_hash=card.tag_hash,
    )


def without_time(rows: Iterable[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.usefixtures("demo")
def test_the_stream_ends_with_the_schedule_and_the_best_weights_of_the_last_stage() -> None:
    fit = a_fit()
    epochs = list(fit)
    assert [epoch.stage for epoch in epochs] == [0, 0, 1, 1]
    assert [epoch.last for epoch in epochs] == [False, False, False, True]
    assert [epoch.learning_rate for epoch in epochs] == [0.05, 0.05, 0.01, 0.01]
    best = min(epochs[2:], key=lambda epoch: epoch.valid_loss)
    assert fit.progress.best_epoch == best.epoch
    assert evaluate(fit.network, fit.valid).loss == pytest.approx(best.valid_loss, rel=1e-6)


@pytest.mark.usefixtures("demo")
def test_the_epochs_of_a_cycle_tell_how_its_rate_climbs_and_falls() -> None:
    cycle = replace(SMALL, learning_rates=(0.1,), epochs_per_stage=10, one_cycle=True)
    rates = [epoch.learning_rate for epoch in a_fit(cycle)]
    top = rates.index(max(rates))
    assert 0 < top < 9
    assert rates == [*sorted(rates[:top]), *sorted(rates[top:], reverse=True)]
    assert rates[-1] < 0.01 * rates[top]


@pytest.mark.usefixtures("demo")
def test_a_stage_starts_from_the_best_weights_with_a_fresh_optimizer() -> None:
    fit = a_fit(replace(SMALL, patience=0, epochs_per_stage=9))
    epoch = next(epoch for epoch in fit if fit.progress.starts_stage)
    assert not epoch.new_best
    fit._start_stage()
    assert not any(value.any() for values in fit.optimizer.slots.values() for value in values)
    assert fit.optimizer.steps == 0
    for name, value in fit.network.state_dict().items():
        assert torch.equal(value, fit.best[name]), name


@pytest.mark.usefixtures("demo")
def test_the_rate_decays_with_every_update_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = Optimizer.step
    monkeypatch.setattr(Optimizer, "step", lambda self, rate: (rates.append(rate), step(self, rate)))
    for _ in a_fit(replace(SMALL, lr_decay=0.1)):
        pass
    assert rates[:6] == [0.05 / (1 + 0.1 * update) for update in range(6)]
    assert rates[6:] == [0.01 / (1 + 0.1 * update) for update in range(6)]


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(optimizer: str) -> None:
    worker.prepare(torch.get_num_threads())  # as a trial's process does; it flushes denormal numbers
    schedule = replace(SMALL, optimizer=optimizer, learning_rates=(0.005, 0.001))
    whole = list(a_fit(schedule))
    for stop in (1, 2, 3):
        first = a_fit(schedule)
        head = list(islice(iter(first), stop))
        second = a_fit(schedule)
        second.restore(*first.state())
        tail = list(second)
        rows = without_time([vars(epoch) for epoch in [*head, *tail]])
        assert rows == without_time([vars(epoch) for epoch in whole])


class Left(Exception):
    """Someone has left an epoch."""


def leave_after(fit: Fit, calls: int) -> None:
    """Leave the stream of epochs once `between` has been called so often."""
    count = iter(range(calls))

    def between() -> None:
        if next(count, None) is None:
            raise Left

    fit.between = between


@pytest.mark.usefixtures("demo", "small_looks")
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_left_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted_bit_for_bit(optimizer: str) -> None:
    """Left in the first epoch, at its first batch and its last, among the clips looked at, and in the next stage."""
    worker.prepare(torch.get_num_threads())
    schedule = replace(SMALL, optimizer=optimizer, learning_rates=(0.005, 0.001), epochs_per_stage=1)
    whole, fit = a_fit(schedule), a_fit(schedule)
    wanted, rows = list(whole), []
    start = fit.state()
    for calls in (0, 1, 9, 17):  # an epoch has 3 batches and 96 clips of 4 segments
        leave_after(fit, calls)
        with contextlib.suppress(Left):
            for epoch in fit:
                rows.append(epoch)
                start = fit.state()
        moment = fit.moment()
        fit = a_fit(schedule)
        fit.restore(*start)
        assert fit.restore_moment(*moment)
    assert (len(rows), fit.progress.stage, moment[1]["batches"]) == (1, 1, 2)
    rows += list(fit)
    assert without_time(map(vars, rows)) == without_time(map(vars, wanted))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, fit.network.state_dict()[name]), name


@pytest.mark.usefixtures("demo")
def test_a_moment_of_another_epoch_is_passed_over() -> None:
    fit = a_fit(replace(SMALL, epochs_per_stage=1))
    leave_after(fit, 0)
    with pytest.raises(Left):
        next(iter(fit))
    moment = fit.moment()
    other = a_fit(replace(SMALL, epochs_per_stage=1))
    next(iter(other))
    before = copied(other.network.state_dict())
    assert not other.restore_moment(*moment)
    for name, value in other.network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.usefixtures("demo")
def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    losses = [next(iter(a_fit(seed=seed))).train_loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.usefixtures("demo")
def test_a_loss_that_is_no_number_ends_the_training() -> None:
    fit = a_fit(replace(SMALL, learning_rates=(1e30,)))
    with pytest.raises(Diverged, match="the loss is "):
        list(fit)


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("segments", [2, 9, 17])
def test_an_epoch_never_serves_a_batch_of_one(segments: int) -> None:
    """9 = 8 + 1 and 17 = 8 + 8 + 1: the one left over is dropped, as the authors do."""
    epoch = next(iter(a_fit(segments=segments)))
    assert np.isfinite(epoch.train_loss)


@pytest.mark.usefixtures("demo")
def test_a_clips_score_is_the_mean_of_its_segments_sigmoids(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the network as it was trained, clip by clip; in float64, so that a difference of rounding shows as none."""
    fit = a_fit(replace(SMALL, epochs_per_stage=1))
    list(fit)
    network, heard, looks = fit.network.double(), fit.valid, []
    in_single = heard._heard
    monkeypatch.setattr(heard, "_heard", lambda wave: in_single(wave).double())
    evaluation = evaluate(network, heard, lambda: looks.append(1))
    assert len(looks) == 8, "thirteen clips go through the network together"
    losses = []
    for (clip,), _, wave in heard.clips_together(1):
        assert len(wave) == 4
        with torch.inference_mode():
            logits = network(wave)
        wanted = torch.sigmoid(logits).mean(dim=0)
        assert evaluation.probabilities[clip] == pytest.approx(wanted.numpy(), abs=1e-12)
        tags = torch.from_numpy(heard.split.labels[clip]).double().expand_as(logits)
        losses.append(torch.nn.functional.binary_cross_entropy_with_logits(logits, tags))
    assert evaluation.loss == pytest.approx(float(torch.stack(losses).mean()), rel=1e-6)


@pytest.mark.usefixtures("demo")
def test_the_spectrogram_of_a_mel_network_is_standardised_before_its_first_epoch() -> None:
    fit = a_fit(network="melcnn_m3_n4_s729_w729")
    next(iter(fit))
    state = fit.network.state_dict()
    assert state["front.std"] > 0
    assert (state["front.mean"], state["front.std"]) != (0, 1)


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_leaves_scores_of_every_clip_and_a_checkpoint_that_tags() -> None:
    with Trial(settings(), "cpu", {"search": "test"}) as trial:
        rows = [trial.advance() for _ in range(4)]
    result = rows[-1]["result"]
    assert rows[-1]["last"]
    assert result["test"]["roc_auc_low"] <= result["test"]["roc_auc"] <= result["test"]["roc_auc_high"]
    assert (result["protocol"]["clips"], result["protocol"]["segments_per_clip"]) == (96, 4)
    assert result == files.read_result(settings().signature())
    assert not (trial.folder / files.STATE).exists()
    stored = pq.read_table(trial.folder / files.SCORES)
    assert stored.column("split").to_pylist() == ["valid"] * 96 + ["test"] * 96
    ours = np.array(stored.column("probabilities").to_pylist()[96:])
    labels = np.array(stored.column("labels").to_pylist()[96:])
    assert score(ours, labels, trial.fit.valid.split.tags).roc_auc == result["test"]["roc_auc"]
    (kept,) = named.find(settings().signature()).trainings
    summary, differences = rescore.rescored(kept)  # without the network, and equal to the last bit
    assert differences == []
    assert summary == {key: result[key] for key in summary}
    tagger = zoo.load(str(trial.folder / files.CHECKPOINT))
    assert tagger.card.scores["test"]["roc_auc"] == result["test"]["roc_auc"]
    test = open_feed("demo", "test", None, zoo.entry(NETWORK))
    wanted = evaluate(trial.fit.network, test).probabilities[0]
    _, _, wave = next(iter(test.clips_together(1)))
    assert tagger.score(wave.flatten().numpy()) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.usefixtures("demo")
def test_no_setting_can_change_a_result_without_changing_the_signature() -> None:
    base = settings()
    changes = [
        {"network": "samplecnn_m3_n4_s243"},
        {"options": {**base.options, "dropout": 0.1}},
        {"seed": 9},
        {"dataset": "mtat"},
        {"fingerprint": "x"},
        {"convention": "all"},
        {"tag_hash": "x"},
        *({"training": replace(base.training, **change)} for change in CHANGED_TRAINING),
    ]
    signatures = [replace(base, **change).signature() for change in changes]
    assert len({base.signature(), *signatures}) == len(changes) + 1
    fields = {key for change in changes for key in change}
    assert fields == set(base.to_json())


CHANGED_TRAINING = (
    {"learning_rates": (0.1,)},
    {"epochs_per_stage": 9},
    {"patience": 9},
    {"batch_size": 9},
    {"optimizer": "adam"},
    {"momentum": 0.1},
    {"weight_decay": 0.1},
    {"lr_decay": 0.1},
    {"norm_momentum": 0.1},
    {"crops": True},
    {"multiply_adds_per_epoch": 1.0},
    {"one_cycle": True},
    {"precision": "bf16"},
)


def test_every_field_of_the_training_is_among_the_changes() -> None:
    assert {key for change in CHANGED_TRAINING for key in change} == set(Training.__dataclass_fields__)


@pytest.mark.usefixtures("demo")
def test_settings_survive_json() -> None:
    assert TrialSettings.from_json(settings().to_json()) == settings()


def test_preparing_a_worker_sets_its_threads() -> None:
    before = torch.get_num_threads()
    worker.prepare(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
