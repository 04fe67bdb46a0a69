"""Which networks can be trained as one on a GPU: m^n networks of one kind, as they were built; see stacked.py."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import nn

from zoo.fast.together import MOST_NUMBERS, has_kernels_for, is_ready, is_watched, lies_side_by_side
from zoo.layers.frontends import LogMel
from zoo.layers.tower import ConvBlock
from zoo.network import WaveNetwork

__all__ = ["can_be_stacked"]

STAGES = ("front", "body", "top", "embedding", "dropout")  # of zoo.layers.tower


def can_be_stacked(networks: Sequence[nn.Module], batch: int) -> bool:
    """Whether they are m^n networks of one kind that can be trained as one, in batches of so many segments each.

    They may differ in their weights and in their dropout.
    """
    return (
        min(len(networks), batch) > 1
        and has_kernels_for(next(networks[0].parameters()))
        and all(_is_a_tower(network) for network in networks)
        and len({_form(network) for network in networks}) == 1
        and len(networks) * _most_numbers(networks[0], batch) <= MOST_NUMBERS
    )


def _is_a_tower(network: Any) -> bool:
    """Whether it is a network of zoo.layers.tower as it was built, all of which trains, and nobody looks inside."""
    if not isinstance(network, WaveNetwork) or network._stages != STAGES or network.readout is not None:
        return False
    front: Any = network.front
    return (
        (_is_whole_spectrogram(front) or _is_long_and_side_by_side(front))
        and all(is_ready(it) for it in network.modules() if isinstance(it, ConvBlock))
        and type(network.head) is nn.Linear
        and type(network.dropout) is nn.Dropout
        and network.dropout.p < 1
        and all(type(it) is nn.Conv1d for it in network.modules() if isinstance(it, nn.Conv1d))
        and all(it.requires_grad for it in network.parameters())
        and not any(is_watched(layer) for layer in network.modules())
        and all(layer.training for layer in network.modules())
    )


def _is_whole_spectrogram(front: object) -> bool:
    return isinstance(front, LogMel) and front.standardise == "whole"


def _is_long_and_side_by_side(front: object) -> bool:
    """So long that fused_gpu.sample_block, which is for one network, does not take its filters."""
    from zoo.fast.fused_gpu import MOST_SAMPLES  # Triton is no part of every torch

    return (
        isinstance(front, ConvBlock) and lies_side_by_side(front) and front.conv.kernel_size[0] > MOST_SAMPLES
    )


def _form(network: Any) -> tuple[object, ...]:
    """What networks have to have in common, beside the layers that their names say."""
    shapes = [(name, it.shape, it.dtype, it.device) for name, it in network.named_parameters()]
    pads = [it.pad for it in network.modules() if isinstance(it, ConvBlock)]
    norms = [(it.eps, it.momentum) for it in network.modules() if isinstance(it, nn.BatchNorm1d)]
    return (network.name, *shapes, *pads, *norms)


def _most_numbers(network: Any, batch: int) -> int:
    """Of a tensor that a kernel of ours counts in, at most: between clips there are never more frames than of clips.

    Of the waves as the first layer takes them there are never twice as many as of samples.
    """
    frames = prod(block.pool.kernel_size for block in network.body)
    convolutions = [it for it in network.modules() if isinstance(it, nn.Conv1d)]
    widest = max(max(it.in_channels, it.out_channels) for it in convolutions)
    return batch * 2 * max(frames * widest, network.input_samples)
