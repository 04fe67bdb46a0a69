"""A step of several trainings in one launch: their losses, and Nesterov's rule.

Without a GPU the kernels are run by Triton's interpreter on the processor (see conftest.py).
"""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stacked_networks import a_network
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from search.trials.optimizer import Optimizer, make
from zoo.fast.noise import Chance
from zoo.fast.shelf import Shelf
from zoo.fast.stacked import Stacked

pytest.importorskip("triton", reason="Triton is not part of this torch")

from search.trials.at_once import AtOnce
from search.trials.step_kernels import entropies

RATES, DECAYS, MOMENTA = (0.1, 0.01, 0.3), (0.0, 0.1, 0.01), (0.9, 0.5, 0.8)


def losses_of(logits: Tensor, tags: Tensor, numbers: int = 128) -> tuple[Tensor, Tensor]:
    losses, slopes = logits.new_empty(len(logits)), torch.empty_like(logits)
    count = logits[0].numel()
    entropies[(len(logits),)](
        logits, tags, losses, slopes, count, TURNS=-(-count // numbers), NUMBERS=numbers
    )
    return losses, slopes


@pytest.mark.parametrize("clips", [2, 12])
def test_losses_and_their_slopes_are_those_of_binary_cross_entropy(
    clips: int, on_processor: torch.device
) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(3, clips, 25) * 8).requires_grad_()
    logits.data[0, 0, :3] = torch.tensor([200.0, -200.0, 0.0])
    tags = (torch.rand(3, clips, 25) < 0.3).float()
    wanted = binary_cross_entropy_with_logits(logits.double(), tags.double(), reduction="none").mean((1, 2))
    wanted.sum().backward()
    losses, slopes = losses_of(logits.detach(), tags)
    assert torch.allclose(losses.double(), wanted, rtol=1e-6)
    assert torch.allclose(slopes, logits.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*value encountered:RuntimeWarning")  # of the interpreter's arithmetic
def test_what_is_no_number_is_told_by_its_own_network(on_processor: torch.device) -> None:
    logits = torch.zeros(2, 3, 25)
    logits[1, 2, 24] = float("nan")
    losses, slopes = losses_of(logits, torch.zeros_like(logits))
    assert losses.isnan().tolist() == [False, True]
    assert slopes.isnan().sum() == 1


class Lanes:
    """Three small networks whose tensors lie beside each other, and torch's own optimizers of copies of them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = [nn.Linear(9, 100) for _ in RATES]
        self.copies = deepcopy(self.networks)
        self.theirs = [
            torch.optim.SGD(it.parameters(), rate, momentum, nesterov=True, weight_decay=decay)
            for it, rate, momentum, decay in zip(self.copies, RATES, MOMENTA, DECAYS, strict=True)
        ]
        self.ours = [
            make("nesterov", it.parameters(), momentum, decay)
            for it, momentum, decay in zip(self.networks, MOMENTA, DECAYS, strict=True)
        ]

    def beside(self) -> Any:
        """As a Stacked holds them."""
        shelf = Shelf([dict(it.named_parameters()) for it in self.networks], lambda name, shape: None)
        return SimpleNamespace(weights=shelf, gradient=torch.zeros_like(shelf.memory), close=shelf.close)

    def step(self, rule: Any, gradient: Tensor) -> None:
        """Of both, along a new gradient, which is left in the memory."""
        shelf = rule.stacked.weights
        gradient.normal_()
        for copy, theirs in zip(self.copies, shelf.of_each(gradient), strict=True):
            for name, parameter in copy.named_parameters():
                parameter.grad = theirs[name].clone()
        for each in self.theirs:
            each.step()
        own = [it for network in self.networks for it in network.parameters()]
        for it in own:
            it.grad = torch.zeros_like(it)
        rule.move(torch.tensor(RATES))
        assert all(it.grad is None for it in own)

    def compare(self) -> None:
        for network, copy in zip(self.networks, self.copies, strict=True):
            for it, theirs in zip(network.parameters(), copy.parameters(), strict=True):
                assert torch.allclose(it, theirs, rtol=1e-5, atol=1e-6)


def test_a_step_of_all_is_the_step_of_each_at_its_own_rate(on_processor: torch.device) -> None:
    lanes = Lanes()
    stacked = lanes.beside()
    rule = AtOnce(stacked, "float32")
    assert rule.takes(lanes.ours)
    for _ in range(3):
        lanes.step(rule, stacked.gradient)
    lanes.compare()


def test_velocities_go_on_from_before_and_go_on_afterwards(on_processor: torch.device) -> None:
    lanes = Lanes()

    def alone() -> None:
        for copy, network, theirs, ours, rate in zip(
            lanes.copies, lanes.networks, lanes.theirs, lanes.ours, RATES, strict=True
        ):
            for it, other in zip(copy.parameters(), network.parameters(), strict=True):
                it.grad = torch.randn_like(it)
                other.grad = it.grad.clone()
            theirs.step()
            ours.step(rate)

    alone()
    homes = [it.data_ptr() for each in lanes.ours for it in each.slots["velocity"]]
    stacked = lanes.beside()
    rule = AtOnce(stacked, "float32")
    assert rule.takes(lanes.ours)
    lanes.step(rule, stacked.gradient)
    rule.close()
    assert [it.data_ptr() for each in lanes.ours for it in each.slots["velocity"]] == homes
    alone()
    lanes.compare()


def test_other_optimizers_than_before_are_moved_from_then_on(on_processor: torch.device) -> None:
    """As a training has after it went on from a state."""
    lanes = Lanes()
    stacked = lanes.beside()
    rule = AtOnce(stacked, "float32")
    assert rule.takes(lanes.ours)
    lanes.step(rule, stacked.gradient)
    fresh = make("nesterov", lanes.networks[1].parameters(), MOMENTA[1], DECAYS[1])
    fresh.slots["velocity"] = [it.clone() for it in lanes.ours[1].slots["velocity"]]
    assert rule.takes([lanes.ours[0], fresh, lanes.ours[2]])
    lanes.step(rule, stacked.gradient)
    lanes.compare()


@pytest.mark.parametrize("other", ["sgd", "adam"])
def test_rules_that_differ_are_not_moved_at_once(other: str, on_processor: torch.device) -> None:
    lanes = Lanes()
    rule = AtOnce(lanes.beside(), "float32")
    others: list[Optimizer] = [*lanes.ours[:2], make(other, lanes.networks[2].parameters())]
    assert not rule.takes(others)
    assert rule.takes(lanes.ours)
    assert not rule.takes(others)
    assert not any(each.slots.get("velocity", [torch.zeros(1)])[0].any() for each in others)


def test_closed_networks_have_their_own_memory_again(on_processor: torch.device) -> None:
    networks = [a_network(seed) for seed in range(2)]
    own = [it for each in networks for it in [*each.parameters(), *each.buffers()]]
    homes, values = [it.data_ptr() for it in own], [it.detach().clone() for it in own]
    together = AtOnce(Stacked(networks, [Chance(on_processor) for _ in networks]), "float32")
    assert together.takes([make("nesterov", each.parameters()) for each in networks])
    together.close()
    assert [it.data_ptr() for it in own] == homes
    assert all(torch.equal(it, value) for it, value in zip(own, values, strict=True))
