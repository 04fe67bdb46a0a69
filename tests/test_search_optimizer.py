"""Ways of descending: torch's own steps, also when a captured step gives rate and number as tensors."""

import copy
from functools import partial

import pytest
import torch

from search.settings import OPTIMIZERS
from search.trials.optimizer import Optimizer, make

TORCHS_OWN = {
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_take_the_steps_of_torchs_own(name: str, weight_decay: float) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Linear(7, 3)
    theirs = copy.deepcopy(ours)
    own = make(name, ours.parameters(), 0.9, weight_decay)
    reference = TORCHS_OWN[name](theirs.parameters(), lr=0.1, weight_decay=weight_decay)
    for step in range(5):
        wave = torch.randn(4, 7)
        ours(wave).square().sum().backward()
        theirs(wave).square().sum().backward()
        own.step(0.1 / (step + 1))
        reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        reference.step()
        reference.zero_grad()
        if name in ("nesterov", "sgd"):
            assert torch.equal(ours.weight, theirs.weight)
            assert torch.equal(ours.bias, theirs.bias)
        assert torch.allclose(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
        assert torch.allclose(ours.bias, theirs.bias, rtol=1e-5, atol=1e-6)


def test_nesterov_without_momentum_is_plain_descent() -> None:
    layer = torch.nn.Linear(2, 1)
    own = make("nesterov", layer.parameters(), momentum=0.0)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.detach().clone()
    own.step(0.5)
    assert torch.equal(layer.weight, before - 0.5)
    assert own.slots == {}


def test_what_cannot_be_trained_is_left_alone() -> None:
    layer = torch.nn.Linear(2, 1)
    layer.weight.requires_grad_(False)
    own = make("adam", layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.clone()
    own.step(0.1)
    assert torch.equal(layer.weight, before)
    assert len(own.slots["mean"]) == 1


def descended(name: str, weight_decay: float, move: bool) -> tuple[torch.nn.Linear, Optimizer]:
    """A layer after four steps, as a loop takes them or as a graph has captured them."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(7, 3)
    own = make(name, layer.parameters(), 0.9, weight_decay)
    for number in range(1, 5):
        layer(torch.randn(4, 7)).square().sum().backward()
        rate = 0.1 / number
        if move:
            own.move(torch.tensor(rate), torch.tensor(number, dtype=torch.float64))
        else:
            own.step(rate)
    return layer, own


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_with_rate_and_number_as_tensors_are_the_same_and_are_not_counted(
    name: str, weight_decay: float
) -> None:
    (found, moved), (wanted, stepped) = (descended(name, weight_decay, move) for move in (True, False))
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
        assert one.grad is None
    assert (moved.steps, stepped.steps) == (0, 4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_that_has_forgotten_takes_the_steps_of_a_new_one(name: str) -> None:
    layers, optimizers = [], []
    for _ in range(2):
        torch.manual_seed(0)
        layers.append(torch.nn.Linear(7, 3))
        optimizers.append(make(name, layers[-1].parameters()))
    start = copy.deepcopy(layers[0].state_dict())
    layers[0](torch.randn(4, 7)).square().sum().backward()
    optimizers[0].step(0.1)
    where = [value.data_ptr() for values in optimizers[0].slots.values() for value in values]
    layers[0].load_state_dict(start)
    optimizers[0].forget()
    waves = torch.randn(3, 4, 7)
    for layer, own in zip(layers, optimizers, strict=True):
        for wave in waves:
            layer(wave).square().sum().backward()
            own.step(0.1)
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert where == [value.data_ptr() for values in optimizers[0].slots.values() for value in values]
