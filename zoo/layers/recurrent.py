"""Recurrent layers that sum up frames: the top of the CRNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GruLayer", "GruTop", "keras_gru"]


class GruLayer(nn.Module):
    """One layer of gated recurrent units, whose output is its state at every frame, zeros before the first.

    torch's form: two biases, sigmoid gates, and the reset gate behind the product with the last state. It is a cell
    that is run along the frames, for torch's whole layer has warnings where a network is exported.
    """

    def __init__(self, width_in: int, units: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(width_in, units)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, width_in) -> (batch, frames, units)."""
        states = [self.cell(frames[:, 0])]
        for i in range(1, frames.shape[1]):
            states.append(self.cell(frames[:, i], states[-1]))
        return torch.stack(states, dim=1)


class GruTop(nn.Module):
    """Two layers of gated recurrent units over frames; the last state of the second is what they make of the clip."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.gru_1 = GruLayer(channels, units)
        self.gru_2 = GruLayer(units, units)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels, 1, frames) -> (batch, units)."""
        return self.gru_2(self.gru_1(image.flatten(1, 2).transpose(1, 2)))[:, -1]


def keras_gru(layer: GruLayer) -> None:
    """Draw the weights afresh as Keras 1 did, each gate alone: Glorot uniform, orthogonal between states, biases 0."""
    for gate in layer.cell.weight_ih.chunk(3):
        nn.init.xavier_uniform_(gate)
    for gate in layer.cell.weight_hh.chunk(3):
        nn.init.orthogonal_(gate)
    nn.init.zeros_(layer.cell.bias_ih)
    nn.init.zeros_(layer.cell.bias_hh)
