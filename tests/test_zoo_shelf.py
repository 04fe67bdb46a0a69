"""Tensors of several networks in one run of memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.fast.shelf import Shelf

pytest.importorskip("triton", reason="Triton is not part of this torch")
from zoo.fast.lanes import form_of


def three() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv1d(3, 4, 2), nn.Linear(5, 6)) for _ in range(3)]


def named(networks: list[nn.Module]) -> list[dict[str, Tensor]]:
    return [dict(network.named_parameters()) for network in networks]


def turned(name: str, shape: torch.Size) -> Any:
    return form_of(shape, side_by_side=False) if name == "0.weight" else None


def test_networks_hold_what_they_held_and_all_of_it_lies_in_one_memory() -> None:
    networks = three()
    before = [{name: it.detach().clone() for name, it in each.items()} for each in named(networks)]
    shelf = Shelf(named(networks), turned)
    for own, theirs, seen in zip(named(networks), before, shelf.of_each(shelf.memory), strict=True):
        for name, it in own.items():
            assert torch.equal(it, theirs[name])
            assert it.data_ptr() == seen[name].data_ptr()
    assert shelf.lying(shelf.memory)["0.weight"].shape == (3, 2, 3, 4)
    shelf.memory.zero_()
    assert not any(it.any() for each in named(networks) for it in each.values())


def test_every_number_is_told_whose_it_is() -> None:
    networks = three()
    shelf = Shelf(named(networks), turned)
    for lane, own in enumerate(named(networks)):
        for it in own.values():
            it.data.fill_(lane)
    assert torch.equal(shelf.lane_of().float(), shelf.memory)


def test_closed_each_network_has_its_own_memory_with_what_it_holds_by_then() -> None:
    networks = three()
    homes = [it.data_ptr() for each in named(networks) for it in each.values()]
    shelf = Shelf(named(networks), turned)
    shelf.memory.fill_(7)
    shelf.close()
    own = [it for each in named(networks) for it in each.values()]
    assert [it.data_ptr() for it in own] == homes
    assert all(bool((it == 7).all()) and it.is_contiguous() for it in own)
