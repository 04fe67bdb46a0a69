"""Steps that are captured and replayed, without a GPU: see played_graphs.py. On one it is tests/test_search_gpu.py."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest
import torch
from kernels_without_gpu import pass_for_a_gpu
from played_graphs import Played, play
from test_search_replicates import SMALL, SMALLEST, a_fit, in_double, in_single  # noqa: F401  (a fixture)

from search.trials.at_once import AtOnce
from search.trials.feed import Feed
from search.trials.replicates import fit_together
from search.trials.training import Epoch, Fit

pytest.importorskip("triton", reason="Triton is not part of this torch")
from search.trials import step_kernels
from zoo.fast import gradient_kernels, kernels, sample_kernels

EXACT = 1e-6  # the rates on a GPU are float32
SINGLE = 1e-4


@pytest.fixture(autouse=True)
def few_clips(demo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Feed.clips_together
    monkeypatch.setattr(Feed, "clips_together", lambda feed, most, team: islice(clips(feed, 1, team), 4))


def losses(epochs: list[Epoch]) -> list[float]:
    return [value for each in epochs for value in (each.train_loss, each.valid_loss)]


def together(fits: list[Fit]) -> list[list[float]]:
    found: list[list[Epoch]] = [[] for _ in fits]
    for i, epoch in fit_together(fits):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch)
    return [losses(epochs) for epochs in found]


@pytest.mark.usefixtures("in_double")  # in which Adam does not take rounding for a gradient
@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    # Of a bias before a batch norm Adam and Adagrad make whole steps from its decay and from rounding alone.
    [("nesterov", 0.05, 0.01), ("sgd", 0.05, 0.01), ("adam", 0.0003, 0.0), ("adagrad", 0.001, 0.0)],
)
def test_replayed_steps_are_the_steps(
    optimizer: str, rate: float, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over stages, which load the best weights; with dropout, decay, and a rate that falls with every step."""
    how = replace(SMALL, optimizer=optimizer, learning_rates=(rate, rate / 5))
    training = replace(how, weight_decay=decay, lr_decay=0.1, norm_momentum=0.1)
    plain = a_fit(1, training, SMALLEST)
    wanted = losses(list(plain))
    play(monkeypatch)
    fit = a_fit(1, training, SMALLEST)
    assert losses(list(fit)) == pytest.approx(wanted, rel=EXACT)
    assert (len(Played.made), Played.replays) == (1, 8)  # four epochs of two batches
    assert fit.optimizer.steps == plain.optimizer.steps
    for (name, it), theirs in zip(plain.network.named_buffers(), fit.network.buffers(), strict=True):
        assert torch.allclose(theirs.double(), it.double(), rtol=EXACT, atol=EXACT), name


def of_three_kinds(**options: object) -> list[Fit]:
    """Of other seeds, rates, dropouts and rules; the last one has but one epoch."""
    staged = replace(SMALL, learning_rates=(0.05, 0.01), epochs_per_stage=1, weight_decay=0.01)
    other = replace(staged, optimizer="sgd", learning_rates=(0.03, 0.006), norm_momentum=0.01)
    brief = replace(staged, learning_rates=(0.02,))
    kinds = ((1, staged, 0.5), (2, other, 0.1), (3, brief, 0.3))
    return in_single(*(a_fit(seed, how, SMALLEST, dropout=share) for seed, how, share in kinds))


def test_steps_of_several_beside_each_other_are_replayed_as_the_steps_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = [losses(list(fit)) for fit in of_three_kinds()]
    play(monkeypatch)
    found = together(of_three_kinds())
    assert [pytest.approx(each, rel=SINGLE) for each in wanted] == found
    assert (len(Played.made), Played.replays) == (2, 4)  # of all three, and of the two that go on


def of_one_rule() -> list[Fit]:
    """Of other seeds, rates, momenta, decays and dropouts; the last one has but one epoch."""
    staged = replace(SMALL, learning_rates=(0.05, 0.01), epochs_per_stage=1, weight_decay=0.01)
    other = replace(staged, momentum=0.5, weight_decay=0.0, learning_rates=(0.03, 0.006), lr_decay=0.1)
    brief = replace(staged, learning_rates=(0.02,))
    kinds = ((1, staged, 0.5), (2, other, 0.1), (3, brief, 0.3))
    return in_single(*(a_fit(seed, how, SMALLEST, dropout=share) for seed, how, share in kinds))


@pytest.mark.parametrize(("kinds", "at_once"), [(of_three_kinds, False), (of_one_rule, True)])
def test_steps_layer_by_layer_are_replayed_as_the_steps_of_each(
    kinds: Callable[[], list[Fit]], at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [losses(list(fit)) for fit in kinds()]
    pass_for_a_gpu(monkeypatch)
    play(monkeypatch, (kernels, gradient_kernels, sample_kernels, step_kernels))
    moved, move = list[int](), AtOnce.move
    monkeypatch.setattr(AtOnce, "move", lambda it, rates: (moved.append(len(rates)), move(it, rates))[1])
    fits = kinds()
    homes = [it.data_ptr() for fit in fits for it in fit.network.parameters()]
    found = together(fits)
    assert [pytest.approx(each, rel=10 * SINGLE) for each in wanted] == found
    assert [it.data_ptr() for fit in fits for it in fit.network.parameters()] == homes
    assert (len(Played.made), Played.replays) == (2, 4)
    assert bool(moved) == at_once


def test_a_step_that_waits_for_a_value_is_taken_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    (plain,) = in_single(a_fit(1, network=SMALLEST))
    wanted = losses(list(plain))
    play(monkeypatch)
    (fit,) = in_single(a_fit(1, network=SMALLEST))
    forward: Callable[[torch.Tensor], torch.Tensor] = fit.network.top.forward
    fit.network.top.forward = lambda frames: forward(frames * (1.0 if frames.sum() > -1e9 else 0.0))
    assert losses(list(fit)) == pytest.approx(wanted, rel=SINGLE)
    assert (len(Played.made), Played.replays) == (1, 0)
    assert not fit.stepper.captures
    assert fit.stepper.why_plain.rstrip().endswith("waits for a value while a graph is captured")
    assert not Played.underway, "the allocator believes that the capture still runs"
    assert not Played.pools, "the GPU does not get back what the capture had"


def test_each_of_several_knows_why_no_graph_holds_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)
    fits = in_single(a_fit(1, network=SMALLEST), a_fit(2, network=SMALLEST))
    forward: Callable[[torch.Tensor], torch.Tensor] = fits[0].network.top.forward
    fits[0].network.top.forward = lambda frames: forward(frames * (1.0 if frames.sum() > -1e9 else 0.0))
    next(fit_together(fits))
    for fit in fits:
        assert fit.stepper.why_plain.rstrip().endswith("waits for a value while a graph is captured")
