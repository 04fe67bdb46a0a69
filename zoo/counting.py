"""Cost of a network by counting on its layers, for families that have no closed form."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["counted"]


def counted(build: Callable[[], nn.Module], input_samples: int) -> tuple[int, int]:
    """Build a network without memory (torch's meta device), send one segment through and count.

    returns: trainable parameters; multiply-adds of convolutions and matrix products.
    """
    with torch.device("meta"):
        network = build().eval()
        wave = torch.zeros(1, input_samples)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(wave)
    return sum(p.numel() for p in network.parameters() if p.requires_grad), flops.get_total_flops() // 2
