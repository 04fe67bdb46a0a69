"""K networks of one form as one function: each layer runs once, with the weights of all of them side by side.

A convolution of K networks is one convolution in K groups, a dense layer one batched product, batch norm one norm of K
times the channels; torch's `vmap` finds these forms. What a network draws at random it draws from its own stream, so
each gets what it would get alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import dropout

from zoo.errors import ZooError
from zoo.frontends import Spectrogram
from zoo.noise import Chance

__all__ = ["Replicas"]

# Of torch's own layers, those that vmap computes for all networks at once: not the recurrent ones, nor those that draw.
LAYERS = (
    nn.AdaptiveAvgPool1d,
    nn.AvgPool1d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Conv1d,
    nn.Conv2d,
    nn.Dropout,
    nn.ELU,
    nn.Flatten,
    nn.Identity,
    nn.LayerNorm,
    nn.Linear,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.ModuleDict,
    nn.ModuleList,
    nn.ReLU,
    nn.Sequential,
    nn.Softmax,
)


class Replicas:
    """Networks that are trained as one.

    networks: of the same name and layers; what dropout leaves out may differ. Each stays a network of its own, but its
              parameters and buffers lie beside those of the others from now on, so that what moves one of them, as an
              optimizer or `load_state_dict` does, is seen here, and batch norm's statistics move on in each.
    chances:  of each network, from which its dropout draws.
    raises:   ZooError if they are not of one form, or have layers that can't be computed side by side.
    """

    def __init__(self, networks: Sequence[nn.Module], chances: Sequence[Chance]) -> None:
        _check(networks)
        self.networks = list(networks)
        self._form = _form_of(networks, chances).train()
        self._weights = _side_by_side([dict(each.named_parameters()) for each in networks])
        kept = set(networks[0].state_dict())
        self._buffers = _side_by_side(
            [{name: it for name, it in each.named_buffers() if name in kept} for each in networks]
        )

    def __call__(self, waves: Tensor) -> Tensor:
        """In training: (K, batch, samples), a batch for each network -> (K, batch, n_tags) logits."""
        return vmap(self._one, randomness="error")(self._weights, self._buffers, waves)

    def share_gradients(self) -> None:
        """Give each network the gradients that `backward` has left here, and forget them here."""
        own = [dict(network.named_parameters()) for network in self.networks]
        for name, weights in self._weights.items():
            if weights.grad is not None:
                for parameters, gradient in zip(own, weights.grad.unbind(), strict=True):
                    parameters[name].grad = gradient
                weights.grad = None

    def _one(self, weights: dict[str, Tensor], buffers: dict[str, Tensor], waves: Tensor) -> Tensor:
        return functional_call(self._form, (weights, buffers), (waves,))


def _check(networks: Sequence[nn.Module]) -> None:
    first = networks[0]
    name = getattr(first, "name", type(first).__name__)
    for path, layer in first.named_modules():
        if type(layer).__module__.startswith("torch.nn.") and not isinstance(layer, LAYERS):
            raise ZooError(
                f"{name}: several can't be trained as one, for its layer {path} is a {type(layer).__name__}; "
                f"train them one by one"
            )
    for other in networks[1:]:
        if _description(other) != _description(first):
            raise ZooError(
                f"{name} and {getattr(other, 'name', type(other).__name__)} can't be trained as one: their layers "
                f"differ; only dropout may"
            )


def _description(network: nn.Module) -> tuple[object, ...]:
    layers = [str(layer) for layer in network.modules() if not any(True for _ in layer.children())]
    tensors = [(name, it.shape, it.dtype, it.device) for name, it in network.state_dict().items()]
    trained = [parameter.requires_grad for parameter in network.parameters()]
    about = getattr(network, "name", None), getattr(network, "input_samples", None)
    return *about, [it for it in layers if not it.startswith("Dropout(")], tensors, trained


def _side_by_side(tensors: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """name -> (K, ...), of which each network's own tensor becomes a view."""
    found = {}
    for name, first in tensors[0].items():
        every = [each[name] for each in tensors]
        stacked = torch.stack([each.detach() for each in every])
        for one, view in zip(every, stacked, strict=True):
            one.data = view
        found[name] = stacked.requires_grad_(first.requires_grad)
    return found


def _form_of(networks: Sequence[nn.Module], chances: Sequence[Chance]) -> nn.Module:
    """A network to run all the others' weights through."""
    form = deepcopy(networks[0])
    others = [dict(network.named_modules()) for network in networks]
    for path, parent in list(form.named_modules()):
        for name, layer in parent.named_children():
            where = f"{path}.{name}" if path else name
            if isinstance(layer, nn.Dropout):
                setattr(parent, name, _Together(_Dropouts([own[where].p for own in others], chances)))
            elif isinstance(layer, Spectrogram):
                setattr(parent, name, _Together(_Folded(layer)))
    return form


class _Together(nn.Module):
    """A layer that says itself what it does for all networks at once."""

    def __init__(self, of_all: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._of_all = of_all

    def forward(self, values: Tensor) -> Tensor:
        """Of one network, as vmap sees it."""
        return _OfAll.apply(values, self._of_all)


class _OfAll(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, of_all: Callable[[Tensor], Tensor]) -> Tensor:
        raise AssertionError("runs under vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: the gradient is that of the layers inside."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, None], values: Tensor, of_all: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        return of_all(values.movedim(in_dims[0], 0)), 0


class _Dropouts:
    """Dropout of each network from its own stream. shares: of each, what it leaves out."""

    def __init__(self, shares: Sequence[float], chances: Sequence[Chance]) -> None:
        self.shares, self.chances = shares, chances

    def __call__(self, values: Tensor) -> Tensor:
        return values * torch.stack([*map(self._noise, values.detach(), self.shares, self.chances)])

    def _noise(self, values: Tensor, share: float, chance: Chance) -> Tensor:
        with chance.own():
            return dropout(torch.ones_like(values), share)


class _Folded:
    """A layer without parameters, which takes the segments of all networks as one batch."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, values: Tensor) -> Tensor:
        return self.layer(values.flatten(0, 1)).unflatten(0, values.shape[:2])
