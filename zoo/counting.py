"""Cost of a network by counting on its layers, for families that have no closed form."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo.entry import Cost, Entry

__all__ = ["counted"]


def counted(entry: Entry, n_tags: int) -> Cost:
    """Build an entry without memory (torch's meta device), send one segment through and count.

    returns: trainable parameters; multiply-adds of convolutions and matrix products.
    """
    with torch.device("meta"):
        network = entry.build(n_tags).eval()
        wave = torch.zeros(1, entry.input_samples)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(wave)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, flops.get_total_flops() // 2)
