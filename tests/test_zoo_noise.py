"""Random numbers of several trainings, each from a stream of its own."""

import torch
from torch import Tensor, nn

from zoo.fast.noise import Chance

CPU = torch.device("cpu")
ONES = torch.ones(4, 50)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Dropout(0.2), nn.Dropout(0.5)

    def forward(self, values: Tensor) -> Tensor:
        return self.second(self.first(values))


def chance_of(seed: int) -> Chance:
    chance = Chance(CPU)
    with chance.own():
        torch.manual_seed(seed)
    return chance


def test_networks_in_turn_leave_out_what_each_leaves_out_alone() -> None:
    alone = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = Two()
        alone.append([network(ONES) for _ in range(3)])
    networks, chances = [Two(), Two()], [chance_of(1), chance_of(2)]
    torch.manual_seed(9)
    outside = torch.get_rng_state()
    for step in range(3):
        for network, chance, wanted in zip(networks, chances, alone, strict=True):
            with chance.own():
                assert torch.equal(network(ONES), wanted[step])
    assert torch.equal(torch.get_rng_state(), outside)


def test_a_stream_begins_where_torch_is() -> None:
    torch.manual_seed(3)
    chance = Chance(CPU)
    wanted = torch.rand(5)
    with chance.own():
        assert torch.equal(torch.rand(5), wanted)


def test_what_is_drawn_for_nothing_is_drawn_once_more() -> None:
    torch.manual_seed(1)
    wanted = Two()(ONES)
    chance = chance_of(1)
    with chance.undrawn(), chance.own():
        Two()(ONES)
    with chance.own():
        assert torch.equal(Two()(ONES), wanted)
