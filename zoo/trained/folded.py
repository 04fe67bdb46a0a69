"""A trained network for asking only: batch norm is part of the layer before it, and pooling comes before the ReLU.

In evaluation batch norm is a scale and a shift of each channel, which a convolution's own weights can hold. A maximum
and an activation that never falls can change places, and then the activation sees one frame of a pool. On a processor
the blocks of the m^n networks are products of matrices (zoo/fast/asked.py).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from zoo.fast.asked import ask_together

__all__ = ["folded"]


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that gives what the network gives in evaluation, to rounding, in less time.

    By the zoo's names of layers: `norm` normalises what `conv` or `dense` gives (`norm_1` what `conv_1` does), and
    `pool` pools what `activation` gives.
    """
    copy = deepcopy(network).eval().requires_grad_(False)
    for parameter in copy.parameters():
        if not _lies_as_new(parameter):  # as in a checkpoint, so that the same bits come out
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    for block in copy.modules():
        layers = dict(block.named_children())
        for name, norm in layers.items():
            before = _before(name, layers)
            fused = _fused(layers[before], norm) if before else None
            if before and fused is not None:
                setattr(block, before, fused)
                setattr(block, name, nn.Identity())
    if all(parameter.device.type == "cpu" for parameter in copy.parameters()):
        ask_together(copy)
    for block in copy.modules():
        layers = dict(block.named_children())
        if isinstance(layers.get("pool"), nn.MaxPool1d | nn.MaxPool2d) and "activation" in layers:
            block.activation, block.pool = block.pool, block.activation
    return copy


def _lies_as_new(tensor: Tensor) -> bool:
    """`is_contiguous` looks at no dimension of size 1, from which torch guesses in what order channels lie."""
    return tensor.stride() == torch.empty(tensor.shape, device="meta").stride()


def _before(name: str, layers: dict[str, nn.Module]) -> str | None:
    """The layer that gives what the norm of this name normalises."""
    if not name.startswith("norm"):
        return None
    return next(
        (it for it in (name.replace("norm", kind) for kind in ("conv", "dense")) if it in layers), None
    )


@torch.no_grad()
def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Both in one layer; None for those of other kinds."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.weight is None:
        return None
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return fuse_conv_bn_eval(layer, norm) if isinstance(layer, nn.Conv1d | nn.Conv2d) else None
