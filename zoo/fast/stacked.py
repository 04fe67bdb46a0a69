"""Several m^n networks of one kind, trained as one on a GPU: every launch is that of a layer of all of them.

A small network is a hundred launches of a few microseconds, which several networks one beside the other only make more
of. Here the clips of all go through together, one network's after another's, and each layer takes for each network's
part of them that network's own weights (see fused_gpu.py and convolving.py). What each learns is what it would alone,
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from zoo.fast.noise import DrawnAhead
from zoo.fast.together import MOST_NUMBERS, has_kernels_for, is_ready, is_watched, lies_side_by_side
from zoo.layers.frontends import LogMel
from zoo.layers.tower import ConvBlock
from zoo.network import WaveNetwork

__all__ = ["Stacked", "can_be_stacked"]

STAGES = ("front", "body", "top", "embedding", "dropout")  # of zoo.layers.tower
COUNT = "num_batches_tracked"
IDLE = "conv.bias"  # behind it comes a batch norm, so that its gradient is zero


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


class Stacked:
    """Networks that `can_be_stacked`. noise: what draws for the dropout of each, from outside.

    Before each pass their weights and statistics are copied into tensors that hold those of all, and afterwards the
    statistics back: a handful of launches. Gradients are parts of those of all.
    """

    def __init__(self, networks: Sequence[nn.Module], noise: DrawnAhead) -> None:
        self.networks: list[Any] = list(networks)
        self.noise = noise
        self.lanes = len(networks)
        self._weights = _Shelf(self.networks, lambda network: network.named_parameters())
        self._statistics = _Shelf(self.networks, _statistics)
        self._counts = [it for each in networks for name, it in each.named_buffers() if name.endswith(COUNT)]
        self._uncounted = torch.zeros((), dtype=torch.long, device=self._counts[0].device)
        for name, it in self._weights.all.items():
            it.requires_grad_(not name.endswith(IDLE))

    def logits(self, waves: Tensor) -> Tensor:
        """(lanes, batch, samples) -> (lanes, batch, n_tags), in training; the running statistics of each move on."""
        self._weights.fill()
        self._statistics.fill()
        self.noise.begin()
        frames = self._front(waves)
        for name, block in self._blocks():
            frames = self._block(name, block, frames)
        values = frames.flatten(1).unflatten(0, (self.lanes, -1))
        noises = [
            network.dropout.noise(own) for network, own in zip(self.networks, values.unbind(), strict=True)
        ]
        self._statistics.give_back()
        with torch.no_grad():
            torch._foreach_add_(self._counts, 1)
        weights = self._weights.all
        return torch.baddbmm(
            weights["head.bias"].unsqueeze(1), values * torch.stack(noises), weights["head.weight"].mT
        )

    def backward(self, loss: Tensor) -> None:
        """Leave the gradients of `loss`, the sum of all losses, in the parameters of each network."""
        weights = self._weights.all
        learning = [name for name, it in weights.items() if it.requires_grad]
        idle = [name for name, it in weights.items() if not it.requires_grad]
        found = torch.autograd.grad(loss, [weights[name] for name in learning])
        gradients = {name: it.contiguous() for name, it in zip(learning, found, strict=True)}
        widths = [weights[name].shape[1] for name in idle]
        zeros = loss.new_zeros(self.lanes, sum(widths)).split(widths, dim=1)
        gradients |= dict(zip(idle, zeros, strict=True))
        for name, parameters in self._weights.own.items():
            for parameter, gradient in zip(parameters, gradients[name].unbind(), strict=True):
                parameter.grad = gradient

    def _front(self, waves: Tensor) -> Tensor:
        """What the first convolution reads: (lanes * batch, channels, frames)."""
        clips = waves.flatten(0, 1).unsqueeze(1)
        fronts: list[Any] = [network.front for network in self.networks]
        if not isinstance(fronts[0], LogMel):
            return clips
        # Each has measured the scale of its own training's first waves.
        mean, std = (torch.stack([getattr(it, name) for it in fronts]) for name in ("mean", "std"))
        values = fronts[0].log_mel(clips).unflatten(0, (self.lanes, -1))
        return ((values - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1)).flatten(0, 1)

    def _blocks(self) -> list[tuple[str, ConvBlock]]:
        layers = self.networks[0].named_modules()
        return [(name, layer) for name, layer in layers if isinstance(layer, ConvBlock)]

    def _block(self, name: str, block: ConvBlock, frames: Tensor) -> Tensor:
        from zoo.fast.fused_gpu import Norm, filtered_block

        weights, statistics, norm = self._weights.all, self._statistics.all, block.norm
        given = Norm(
            scale=weights[f"{name}.norm.weight"].flatten(),
            shift=weights[f"{name}.norm.bias"].flatten(),
            bias=weights[f"{name}.conv.bias"].flatten(),
            running_mean=statistics[f"{name}.norm.running_mean"].flatten(),
            running_variance=statistics[f"{name}.norm.running_var"].flatten(),
            batches=self._uncounted,
            epsilon=norm.eps,
            momentum=norm.momentum or 0.0,
        )
        pools = isinstance(block.pool, nn.MaxPool1d)
        left, pool = (block.pad[0], block.conv.kernel_size[0]) if pools else (-1, 1)
        weight = weights[f"{name}.conv.weight"]
        return filtered_block(frames, weight, given, left, pool, next_block=block.next_block)


class _Shelf:
    """Tensors of every network by name, and beside them, in `all`, those of all networks as one, (lanes, ...)."""

    def __init__(
        self, networks: Sequence[nn.Module], named: Callable[[nn.Module], Iterator[tuple[str, Tensor]]]
    ) -> None:
        each = [dict(named(network)) for network in networks]
        self.own = {name: [tensors[name] for tensors in each] for name in each[0]}
        self.all = {name: torch.stack([it.detach() for it in some]) for name, some in self.own.items()}

    @torch.no_grad()
    def fill(self) -> None:
        """Copy each network's own into those of all."""
        torch._foreach_copy_(self._parts(), self._owned())

    @torch.no_grad()
    def give_back(self) -> None:
        """Copy them back."""
        torch._foreach_copy_(self._owned(), self._parts())

    def _parts(self) -> list[Tensor]:
        return [part for it in self.all.values() for part in it.unbind()]

    def _owned(self) -> list[Tensor]:
        return [it for some in self.own.values() for it in some]


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, it in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            yield name, it


def _is_a_tower(network: Any) -> bool:
    """Whether it is a network of zoo.layers.tower as it was built, all of which trains, and nobody looks inside."""
    if not isinstance(network, WaveNetwork) or network._stages != STAGES or network.readout is not None:
        return False
    front: Any = network.front
    return (
        (_is_whole_spectrogram(front) or _is_long_and_side_by_side(front))
        and all(is_ready(it) for it in network.modules() if isinstance(it, ConvBlock))
        and type(network.head) is nn.Linear
        and all(type(it) is nn.Conv1d for it in network.modules() if isinstance(it, nn.Conv1d))
        and all(it.requires_grad for it in network.parameters())
        # What is called before the network itself is DrawnAhead's
        and not (network._forward_hooks or network._backward_hooks or network._backward_pre_hooks)
        and not any(is_watched(layer) for layer in network.modules() if layer is not network)
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
    """Of a tensor that a kernel of ours counts in, at most: between clips there are never more frames than of clips."""
    frames = prod(block.pool.kernel_size for block in network.body)
    convolutions = [it for it in network.modules() if isinstance(it, nn.Conv1d)]
    return batch * 2 * frames * max(max(it.in_channels, it.out_channels) for it in convolutions)
