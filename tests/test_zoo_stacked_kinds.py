"""Which networks go through as one: m^n networks of one kind, as they were built; all others go each their own way."""

from collections.abc import Callable

import pytest
import torch
from stacked_networks import a_network
from torch import nn

import zoo
from zoo.fast.stackable import can_be_stacked

pytest.importorskip("triton", reason="Triton is not part of this torch")


def frozen() -> nn.Module:
    network = a_network(1)
    network.head.weight.requires_grad_(False)
    return network


def watched() -> nn.Module:
    network = a_network(1)
    network.top.norm.register_forward_hook(lambda *given: None)
    return network


def of_another_activation() -> nn.Module:
    network = a_network(1)
    network.top.activation = nn.LeakyReLU()
    return network


def of_another_momentum() -> nn.Module:
    network = a_network(1)
    network.top.norm.momentum = 0.5
    return network


@pytest.mark.parametrize(
    "other",
    [
        lambda: a_network(1, "samplecnn_m2_n3_s32"),
        lambda: a_network(1, filters="paper"),
        lambda: a_network(1).eval(),
        lambda: a_network(1).double(),
        lambda: a_network(1).replace_head(7).train(),
        frozen,
        watched,
        of_another_momentum,
        of_another_activation,
    ],
)
def test_a_network_that_is_not_like_the_others_is_not_stacked(
    other: Callable[[], nn.Module], on_processor: torch.device
) -> None:
    assert can_be_stacked([a_network(0), a_network(1)], 23)
    assert not can_be_stacked([a_network(0), other()], 23)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("samplecnn_m3_n3_s3", {}),  # frames that are made again from the waveform
        ("samplecnn_m3_n3_s81_w243", {}),  # filters over each other's samples
        ("samplecnn_se", {}),
        ("musicnn", {}),
    ],
)
def test_other_kinds_of_networks_are_not_stacked(
    name: str, options: dict[str, object], on_processor: torch.device
) -> None:
    assert not can_be_stacked([zoo.create(name).train() for _ in range(2)], 23)


def test_paddings_on_other_sides_are_no_one_kind(on_processor: torch.device) -> None:
    theano, other = (a_network(0, padding=it) for it in ("theano", "torch"))
    assert can_be_stacked([theano, theano], 23)
    assert not can_be_stacked([theano, other], 23)


def test_more_numbers_than_the_kernels_can_count_are_not_stacked(on_processor: torch.device) -> None:
    networks = [a_network(0)] * 2
    most = 2**31 // (2 * 2 * 8 * 256)
    assert can_be_stacked(networks, most - 1)
    assert not can_be_stacked(networks, most + 1)
    heard = [
        a_network(0, "samplecnn_m3_n3_s729", filters="paper")
    ] * 2  # more samples than numbers of a layer
    most = 2**31 // (2 * 2 * 19_683)
    assert can_be_stacked(heard, most - 1)
    assert not can_be_stacked(heard, most + 1)


def test_networks_on_a_processor_are_not_stacked() -> None:
    assert not can_be_stacked([a_network(0), a_network(1)], 23)


def test_one_network_alone_is_not_stacked(on_processor: torch.device) -> None:
    assert not can_be_stacked([a_network(0)], 23)
