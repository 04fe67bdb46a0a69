"""Cost of a network by counting on its layers, for families that have no closed form."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.facts import Cost
from zoo.layers.frontends import LogMel, Spectrogram

__all__ = ["counted"]


def counted(build: Callable[[], nn.Module], input_samples: int) -> Cost:
    """Build a network without memory (torch's meta device), send segments through and count.

    Multiply-adds are those of convolutions and matrix products; those of a spectrogram are left out.
    """
    with torch.device("meta"):
        network = build().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(torch.zeros(1, input_samples, device="meta"))
    by_layer = flops.get_flop_counts()
    root = type(network).__name__
    spectrograms = [
        sum(by_layer.get(f"{root}.{name}", {}).values())
        for name, layer in network.named_modules()
        if isinstance(layer, LogMel | Spectrogram) and not name.endswith(".spectrogram")
    ]
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    # What is kept once a batch, such as batch norm's means, drops out of the difference.
    two, three = (_kept_bytes(network.train(), segments, input_samples) for segments in (2, 3))
    frozen = sum(p.numel() for p in network.parameters()) - parameters
    return Cost(parameters, (flops.get_total_flops() - sum(spectrograms)) // 2, three - two, frozen)


def _kept_bytes(network: nn.Module, segments: int, input_samples: int) -> int:
    """Bytes of all that autograd keeps of a forward pass, each storage once."""
    kept: dict[int, tuple[int, object]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # held on to, so that no other one gets its address
        kept[storage._cdata] = (storage.nbytes(), storage)
        return tensor

    # Whoever asks may be in a `no_grad` of their own, where nothing would be kept.
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(segments, input_samples, device="meta"))
    return sum(size for size, _ in kept.values())
