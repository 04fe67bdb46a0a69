"""Cost of a network by counting on its layers, for families that have no closed form."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.frontends import LogMel, Spectrogram

__all__ = ["counted"]


def counted(build: Callable[[], nn.Module], input_samples: int) -> tuple[int, int]:
    """Build a network without memory (torch's meta device), send one segment through and count.

    returns: trainable parameters; multiply-adds of convolutions and matrix products, those of a spectrogram left out.
    """
    with torch.device("meta"):
        network = build().eval()
        wave = torch.zeros(1, input_samples)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(wave)
    by_layer = flops.get_flop_counts()
    root = type(network).__name__
    spectrograms = [
        sum(by_layer.get(f"{root}.{name}", {}).values())
        for name, layer in network.named_modules()
        if isinstance(layer, LogMel | Spectrogram) and not name.endswith(".spectrogram")
    ]
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return parameters, (flops.get_total_flops() - sum(spectrograms)) // 2
