"""Several trainings as one stream: each is the training that it would be alone."""

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import chain, count, islice
from types import SimpleNamespace

import pytest
import torch
from kernels_without_gpu import pass_for_a_gpu

import zoo
from search.errors import SearchError
from search.failures import Diverged
from search.settings import Training
from search.trials import training
from search.trials.cuda_graphs import Stepper
from search.trials.feed import Feed, open_feed
from search.trials.replicates import fit_together
from search.trials.team import Team
from search.trials.training import Batch, Epoch, Fit

SMALL = Training(learning_rates=(0.05, 0.01), epochs_per_stage=2, batch_size=8)
RAW, MEL = "samplecnn_m3_n3_s729", "melcnn_m3_n3_s729_w729"
SMALLEST = "samplecnn_m2_n3_s16"
SEGMENTS = 20  # of which the last batch is a shorter one
EXACT = 1e-10
SINGLE = 1e-6  # losses are summed in float32


def a_fit(seed: int, training: Training = SMALL, network: str = RAW, **options: object) -> Fit:
    torch.manual_seed(seed)
    entry = zoo.entry(network).with_options(filters="half", **options)
    train, valid = (open_feed("demo", split, None, entry) for split in ("train", "valid"))
    return Fit(entry.build(len(train.split.tags)).double(), train, valid, training, seed, SEGMENTS)


def of_many_kinds(network: str) -> list[Fit]:
    """Of other seeds, rates, dropouts, decays and rules; the second one leaves its first stage an epoch earlier."""
    return [
        a_fit(1, network=network),
        a_fit(2, replace(SMALL, epochs_per_stage=1, learning_rates=(0.1, 0.03, 0.01)), network, dropout=0.1),
        a_fit(3, replace(SMALL, optimizer="adam", learning_rates=(0.001,), epochs_per_stage=3), network),
        a_fit(4, replace(SMALL, weight_decay=0.01, crops=True, lr_decay=0.1), network, dropout=0.0),
    ]


@pytest.fixture(autouse=True)
def few_clips(demo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A look at eight validation clips is enough to tell trainings apart."""
    clips = Feed.clips_together
    monkeypatch.setattr(Feed, "clips_together", lambda feed, most, team: islice(clips(feed, 1, team), 8))
    return demo


@pytest.fixture
def in_double(demo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Music in float64, so that a difference of rounding shows as none."""
    heard, batches = Feed._heard, Feed.batches
    monkeypatch.setattr(Feed, "_heard", lambda feed, wave: heard(feed, wave).double())
    # Torch takes the loss of float64 logits in float32 where the tags are that.
    monkeypatch.setattr(Feed, "batches", lambda *given, **more: _tags_in_double(batches(*given, **more)))
    return demo


def _tags_in_double(batches: Generator[Batch]) -> Generator[Batch]:
    with closing(batches):
        for wave, tags in batches:
            yield wave, tags.double()


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("network", [RAW, MEL])
def test_trainings_as_one_are_the_trainings_of_each_alone(network: str) -> None:
    alone, together = of_many_kinds(network), of_many_kinds(network)
    wanted = [list(fit) for fit in alone]
    found: list[list[Epoch]] = [[] for _ in together]
    for i, epoch in fit_together(together):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch)
    assert [[epoch.stage for epoch in epochs] for epochs in found] == [
        [0, 0, 1, 1],
        [0, 1, 2],
        [0, 0, 0],
        [0, 0, 1, 1],
    ]
    for one, other in zip(alone, together, strict=True):
        tensors, about = one.state()
        theirs, about_them = other.state()
        assert theirs.keys() == tensors.keys()
        for name, value in tensors.items():
            assert torch.allclose(theirs[name].double(), value.double(), rtol=EXACT, atol=EXACT), name
        assert about_them == {**about, "best_loss": pytest.approx(about["best_loss"], rel=EXACT)}
    for one, other in zip(chain(*wanted), chain(*found), strict=True):
        rest = ("seconds", "train_loss", "valid_loss", "valid_roc_auc", "valid_pr_auc")
        assert other.train_loss == pytest.approx(one.train_loss, rel=SINGLE)
        assert other.valid_loss == pytest.approx(one.valid_loss, rel=EXACT)
        assert other.valid_roc_auc == pytest.approx(one.valid_roc_auc, rel=EXACT)
        assert replace(other, **dict.fromkeys(rest, 0.0)) == replace(one, **dict.fromkeys(rest, 0.0))


@pytest.mark.usefixtures("in_double")
def test_one_of_several_trainings_goes_on_alone_from_its_state() -> None:
    whole = a_fit(2)
    wanted = list(whole)
    several = [a_fit(1), a_fit(2)]
    epochs = [epoch for i, epoch in fit_together(several, lambda i: several[i].progress.epoch < 2) if i == 1]
    assert len(epochs) == 2, "it went on although it was not wanted any more"
    rest = a_fit(2)
    rest.restore(*several[1].state())
    epochs += list(rest)
    assert [epoch.train_loss for epoch in epochs] == pytest.approx(
        [one.train_loss for one in wanted], rel=SINGLE
    )


def test_a_training_that_diverges_ends_alone() -> None:
    def singles(seed: int, rate: float = 0.05) -> Fit:
        fit = a_fit(seed, replace(SMALL, learning_rates=(rate,)))
        fit.network.float()
        return fit

    found: list[tuple[int, Epoch | Diverged]] = list(
        fit_together([singles(1), singles(2, rate=1e30), singles(3)])
    )
    assert [(i, type(end)) for i, end in found] == [
        (0, Epoch),
        (1, Diverged),
        (2, Epoch),
        (0, Epoch),
        (2, Epoch),
    ]
    assert all(math.isfinite(end.train_loss) for _, end in found if isinstance(end, Epoch))


def cut(fit: Fit) -> Fit:
    fit.micro_batch_size = 4
    return fit


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: a_fit(2, replace(SMALL, batch_size=4)),
            "epochs of 2 and 5 batches can't go together; train",
        ),
        (lambda: cut(a_fit(2)), "whose batches are cut in parts to fit into memory can't go together"),
        (lambda: begun(a_fit(2)), "in the middle of an epoch can't go together; end it alone"),
        (lambda: shared(a_fit(2)), "that several processes share can't go together; give each one process"),
    ],
)
def test_trainings_that_cannot_go_together_are_refused_before_anything_is_trained(
    other: Callable[[], Fit], words: str
) -> None:
    fits = [a_fit(1), other()]
    with pytest.raises(SearchError, match=words):
        next(fit_together(fits))
    assert fits[0].progress.epoch == 0


class Left(Exception):
    """A training is to be left here."""


def leave() -> None:
    raise Left


def begun(fit: Fit) -> Fit:
    fit.network.float()
    fit.between = leave
    with pytest.raises(Left):
        next(iter(fit))
    return fit


def test_a_training_that_is_left_leaves_the_others_after_the_same_step() -> None:
    fits = [a_fit(1), a_fit(2)]
    for fit in fits:
        fit.network.float()
    fits[0].between = leave
    with pytest.raises(Left):
        next(fit_together(fits))
    assert [fit.moment()[1]["batches"] for fit in fits] == [1, 1]
    assert [fit.optimizer.steps for fit in fits] == [1, 1]


def shared(fit: Fit) -> Fit:
    fit.team = Team(0, 2)
    return fit


def test_other_networks_go_together_and_have_their_own_layers_afterwards() -> None:
    alone, together = [a_fit(1), a_fit(2, network=MEL)], [a_fit(1), a_fit(2, network=MEL)]
    for fit in (*alone, *together):
        fit.network.float()
    wanted = [[epoch.train_loss for epoch in fit] for fit in alone]
    found: list[list[float]] = [[], []]
    for i, epoch in fit_together(together):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch.train_loss)
    assert found == wanted
    assert all(type(fit.network.dropout) is torch.nn.Dropout for fit in together)


def test_what_one_training_does_where_it_is_left_the_others_do_too() -> None:
    """As saving themselves: one that is asked a moment before another may still have wanted to go on."""
    fits, asked = [a_fit(1), a_fit(2)], list[int]()
    for i, fit in enumerate(fits):
        fit.network.float()
        fit.between = lambda i=i: asked.append(i)

    def leave_second() -> None:
        asked.append(1)
        raise Left

    fits[1].between = leave_second
    with pytest.raises(Left):
        next(fit_together(fits))
    assert asked == [0, 1, 0]


def test_an_epoch_that_has_ended_is_not_lost_when_the_next_training_is_left() -> None:
    """Left while the second one looks at the validation clips: the first has had its look."""
    fits = [a_fit(1), a_fit(2)]
    for fit in fits:
        fit.network.float()

    def leave_in_evaluation() -> None:
        if not fits[1].network.training:
            raise Left

    fits[1].between = leave_in_evaluation
    ends = fit_together(fits)
    i, epoch = next(ends)
    assert (i, isinstance(epoch, Epoch)) == (0, True)
    with pytest.raises(Left):
        next(ends)
    assert (fits[0].in_epoch, fits[1].in_epoch) == (False, True)


def test_each_counts_its_share_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    fits = [a_fit(seed) for seed in (1, 2, 3, 4)]
    for fit in fits:
        fit.network.float()
    ends = fit_together(fits)
    # Begun at 0, 1, 2 and 3, ended at 4, 5, 6 and 7.
    assert [next(ends)[1].seconds for _ in fits] == [1.0] * 4
    assert [fit.share for fit in fits] == [1.0] * 4


def test_networks_that_differ_share_the_seconds_by_what_they_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    fits = in_single(a_fit(1), a_fit(2))
    for fit, multiply_adds in zip(fits, (3, 1), strict=True):
        fit.step_multiply_adds = multiply_adds
    ends = fit_together(fits)
    # Begun at 0 and 1, ended at 2 and 3.
    assert [next(ends)[1].seconds for _ in fits] == [1.5, 0.5]


def test_a_step_is_as_large_as_its_batch_and_its_network() -> None:
    fit = a_fit(1)
    assert fit.step_multiply_adds == fit.batch * fit.train.entry.cost(fit.network.n_tags).multiply_adds


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every step of several trainings: whether all went through layer by layer."""
    found, step = list[bool](), Stepper.step

    def told(stepper: Stepper, *given: object) -> object:
        found.append(stepper.at_once is not None)
        return step(stepper, *given)

    monkeypatch.setattr(Stepper, "step", told)
    return found


def in_single(*fits: Fit) -> list[Fit]:
    for fit in fits:
        fit.network.float()
    return list(fits)


def test_trainings_that_go_through_layer_by_layer_are_the_trainings_of_each_alone(
    at_once: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over stages that begin from the best weights, and after one of them has ended."""
    pytest.importorskip("triton", reason="Triton is not part of this torch")

    def fits() -> list[Fit]:
        staged = replace(SMALL, learning_rates=(0.05, 0.01), epochs_per_stage=1)
        other = replace(staged, optimizer="sgd", learning_rates=(0.03, 0.006), weight_decay=0.01)
        brief = replace(staged, learning_rates=(0.02,))
        made = [(1, staged, 0.5), (2, other, 0.1), (3, brief, 0.3)]
        return in_single(*(a_fit(seed, how, SMALLEST, dropout=share) for seed, how, share in made))

    alone, together = fits(), fits()
    wanted = [list(fit) for fit in alone]
    assert not any(at_once)
    at_once.clear()
    pass_for_a_gpu(monkeypatch)
    found: list[list[Epoch]] = [[] for _ in together]
    for i, epoch in fit_together(together):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch)
    assert at_once == [True] * 4  # two steps of three, and two of the two that have another stage
    assert [len(epochs) for epochs in found] == [2, 2, 1]
    for one, other in zip(chain(*wanted), chain(*found), strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert other.valid_loss == pytest.approx(one.valid_loss, rel=1e-3)
    for fit, same in zip(alone, together, strict=True):
        assert fit.state()[1]["updates"] == same.state()[1]["updates"]
        for (name, it), theirs in zip(fit.network.named_buffers(), same.network.buffers(), strict=True):
            assert torch.allclose(theirs.double(), it.double(), rtol=1e-3, atol=1e-5), name
        assert same.network.top.norm.num_batches_tracked > 0


@pytest.mark.parametrize("other", [replace(SMALL, precision="winograd"), replace(SMALL, batch_size=9)])
def test_trainings_of_other_precisions_or_batches_do_not_go_through_as_one(
    other: Training, at_once: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not part of this torch")
    fits = in_single(a_fit(1, network=SMALLEST), a_fit(2, other, SMALLEST))
    pass_for_a_gpu(monkeypatch)
    next(fit_together(fits))
    assert at_once == [False] * 2


def test_trainings_of_one_short_batch_of_other_sizes_do_not_go_through_as_one(
    at_once: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not part of this torch")
    fits = in_single(a_fit(1, network=SMALLEST), a_fit(2, network=SMALLEST))
    fits[0].segments, fits[1].segments = 5, 7
    pass_for_a_gpu(monkeypatch)
    next(fit_together(fits))
    assert at_once == [False]
