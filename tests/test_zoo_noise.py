"""Dropout of several networks, each from a stream of its own, drawn before the step."""

import torch
from torch import Tensor, nn

from zoo.fast.noise import Chance, DrawnAhead

CPU = torch.device("cpu")
ONES = torch.ones(4, 50)


class Two(nn.Module):
    """Two layers of dropout, reached in the other order than they were made in."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = nn.Dropout(0.5), nn.Dropout(0.2)

    def forward(self, values: Tensor) -> Tensor:
        return self.second(self.first(values))


def chance_of(seed: int) -> Chance:
    chance = Chance(CPU)
    with chance.own():
        torch.manual_seed(seed)
    return chance


def test_networks_together_leave_out_what_each_leaves_out_alone() -> None:
    alone = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = Two()
        alone.append([network(ONES) for _ in range(3)])
    networks = [Two(), Two()]
    noise = DrawnAhead(networks, [chance_of(1), chance_of(2)])
    torch.manual_seed(9)
    outside = torch.get_rng_state()
    for step in range(3):
        noise.draw()
        for network, wanted in zip(networks, alone, strict=True):
            assert torch.equal(network(ONES), wanted[step])
    assert torch.equal(torch.get_rng_state(), outside)


def test_a_layer_that_is_called_twice_leaves_out_others_the_second_time() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, values: Tensor) -> Tensor:
            return torch.stack([self.dropout(values), self.dropout(values)])

    torch.manual_seed(1)
    alone = Twice()
    wanted = [alone(ONES) for _ in range(2)]
    network = Twice()
    noise = DrawnAhead([network], [chance_of(1)])
    for each in wanted:
        noise.draw()
        assert torch.equal(network(ONES), each)
    assert not torch.equal(*wanted[0])


def test_a_step_itself_draws_nothing_after_the_first() -> None:
    network = Two()
    DrawnAhead([network], [chance_of(1)])
    first = network(ONES)
    assert torch.equal(network(ONES), first)


def test_what_is_drawn_for_nothing_is_drawn_once_more() -> None:
    torch.manual_seed(1)
    wanted = Two()(ONES)
    network = Two()
    noise = DrawnAhead([network], [chance_of(1)])
    with noise.undrawn():
        network(ONES)
    noise.draw()
    assert torch.equal(network(ONES), wanted)


def test_nothing_is_left_out_in_evaluation_and_a_network_gets_its_layers_back() -> None:
    network = Two()
    layers = network.first, network.second
    noise = DrawnAhead([network], [chance_of(1)])
    assert torch.equal(network.eval()(ONES), ONES)
    noise.close()
    assert (network.first, network.second) == layers
