"""Several m^n networks of one kind, trained as one on a GPU: every launch is that of a layer of all of them.

A small network is a hundred launches of a few microseconds, which several networks one beside the other only make more
of. Here the clips of all go through together, one network's after another's, and each layer takes for each network's
part of them that network's own weights (see fused_gpu.py and lanes.py). What each learns is what it would alone,
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.fast.branches import side_by_side
from zoo.fast.noise import Chance
from zoo.fast.shelf import Shelf
from zoo.layers.frontends import LogMel
from zoo.layers.tower import ConvBlock

__all__ = ["Stacked"]

COUNT = "num_batches_tracked"
HEAD, HEAD_BIAS = "head.weight", "head.bias"
IDLE = "conv.bias"  # behind it comes a batch norm, so that its gradient is zero


class Stacked:
    """Networks that can be stacked (see stackable.py), whose tensors lie beside each other until `close`.

    chances: of each, from which its dropout draws.
    weights: all parameters of all; `gradient` holds, in the same order, what `backward` has found.
    """

    def __init__(self, networks: Sequence[nn.Module], chances: Sequence[Chance]) -> None:
        self.networks: list[Any] = list(networks)
        self.chances, self.lanes = list(chances), len(networks)
        self._side_by_side = {f"{name}.conv.weight": not _pools(block) for name, block in self._blocks()}
        self._shelves = list[Shelf]()
        try:
            self.weights = self._shelf(lambda network: network.named_parameters())
            self._statistics, self._counts = self._shelf(_statistics), self._shelf(_counts)
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        self.gradient = torch.zeros_like(self.weights.memory)
        self._uncounted = torch.zeros((), dtype=torch.long, device=self.gradient.device)
        self._gradients = self.weights.of_each(self.gradient)
        self._norms = {  # what torch finds the gradient of
            name: it.detach().requires_grad_()
            for name, it in self.weights.lying(self.weights.memory).items()
            if ".norm." in name
        }
        makes_up = [1 / (1 - each.dropout.p) for each in self.networks]
        self._makes_up = torch.tensor(makes_up, device=self.gradient.device).view(-1, 1, 1)

    def logits(self, waves: Tensor) -> Tensor:
        """(lanes, batch, samples) -> (lanes, batch, n_tags), in training; the running statistics of each move on."""
        from zoo.fast.fused_gpu import numbers_of

        kind = numbers_of(waves.device)
        cast = self.weights.memory.to(kind)  # of all layers at once
        values, gradients = self.weights.lying(cast), self.weights.lying(self.gradient)
        given = [
            (block, self._filters(name, block, values, gradients), self._norm(name, block))
            for name, block in self._blocks()
        ]
        (first, *others), frames = given, self._front(waves)
        noise = waves.new_empty(self.lanes, waves.shape[1], values[HEAD].shape[2])
        drawn = partial(self._draw, noise[0].to(kind), noise)
        frames, _ = side_by_side(waves.device, [partial(_trained, *first, frames), drawn])
        for each in others:
            frames = _trained(*each, frames)
        self._counts.memory.add_(1)
        heard = frames.flatten(1).unflatten(0, (self.lanes, -1))
        head = [it[name] for it in (values, gradients) for name in (HEAD, HEAD_BIAS)]
        return _Head.apply(heard, noise, *head)

    def backward(self, logits: Tensor, slopes: Tensor) -> None:
        """Leave the gradients in the parameters of each network. slopes: of its loss, at every one of the logits."""
        found = torch.autograd.grad(logits, list(self._norms.values()), slopes)
        rooms = self.weights.lying(self.gradient)
        torch._foreach_copy_([rooms[name] for name in self._norms], list(found))
        # A rule may have added a decay there
        torch._foreach_zero_([it for name, it in rooms.items() if name.endswith(IDLE)])
        for network, gradients in zip(self.networks, self._gradients, strict=True):
            for name, parameter in network.named_parameters():
                parameter.grad = gradients[name]

    def close(self) -> None:
        """Each network's tensors are its own again."""
        for shelf in self._shelves:
            shelf.close()

    def _shelf(self, named: Callable[[Any], Iterable[tuple[str, Tensor]]]) -> Shelf:
        self._shelves.append(Shelf([dict(named(each)) for each in self.networks], self._form))
        return self._shelves[-1]

    @torch.no_grad()
    def _draw(self, values: Tensor, noise: Tensor) -> Tensor:
        """Fill it with what dropout multiplies the values before the head by: zero, or what makes up for the zeros.

        values: of a network, in whose numbers it is drawn; the noise is float32, as dropout multiplies by that.
        """
        ones, drawn = torch.ones_like(values), []
        for network, chance in zip(self.networks, self.chances, strict=True):
            with chance.own():
                drawn.append(network.dropout(ones))
        return torch.mul(torch.stack(drawn) != 0, self._makes_up, out=noise)

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

    def _form(self, name: str, shape: torch.Size) -> Any:
        from zoo.fast.lanes import form_of

        return form_of(shape, self._side_by_side[name]) if name in self._side_by_side else None

    def _filters(
        self, name: str, block: ConvBlock, values: dict[str, Tensor], gradients: dict[str, Tensor]
    ) -> Any:
        from zoo.fast.lanes import Filters

        key = f"{name}.conv.weight"
        return Filters(values[key], gradients[key], block.conv.kernel_size[0])

    def _norm(self, name: str, block: ConvBlock) -> Any:
        from zoo.fast.fused_gpu import Norm

        weights = self.weights.lying(self.weights.memory)
        statistics, norm = self._statistics.lying(self._statistics.memory), block.norm
        return Norm(
            scale=self._norms[f"{name}.norm.weight"].flatten(),
            shift=self._norms[f"{name}.norm.bias"].flatten(),
            bias=weights[f"{name}.{IDLE}"].flatten(),
            running_mean=statistics[f"{name}.norm.running_mean"].flatten(),
            running_variance=statistics[f"{name}.norm.running_var"].flatten(),
            batches=self._uncounted,
            epsilon=norm.eps,
            momentum=norm.momentum or 0.0,
        )


class _Head(torch.autograd.Function):
    """The last layer of all networks, behind their dropout; the gradients of its weights are left in their rooms."""

    @staticmethod
    def forward(
        ctx: Any, heard: Tensor, noise: Tensor, weight: Tensor, bias: Tensor, *rooms: Tensor
    ) -> Tensor:
        left = torch.mul(heard, noise, out=torch.empty_like(heard))
        ctx.save_for_backward(left, noise, weight)
        ctx.rooms = rooms
        return torch.baddbmm(bias.unsqueeze(1), left, weight.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        from zoo.fast.lanes import multiply_into

        left, noise, weight = ctx.saved_tensors
        to_weight, to_bias = ctx.rooms
        multiply_into(to_weight, slopes.mT, left)
        torch.sum(slopes, 1, dtype=to_bias.dtype, out=to_bias)
        return torch.bmm(slopes, weight).mul_(noise), None, None, None, None, None


def _pools(block: ConvBlock) -> bool:
    return isinstance(block.pool, nn.MaxPool1d)


def _trained(block: ConvBlock, filters: Any, norm: Any, frames: Tensor) -> Tensor:
    """What a block gives in training, of all networks."""
    from zoo.fast.fused_gpu import filtered_block

    left, pool = (block.pad[0], block.conv.kernel_size[0]) if _pools(block) else (-1, 1)
    return filtered_block(frames, filters, norm, left, pool, next_block=block.next_block)


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, it in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            yield name, it


def _counts(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, it in network.named_buffers():
        if name.endswith(COUNT):
            yield name, it
