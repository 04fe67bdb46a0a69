"""Recurrent layers that sum up frames: the top of the CRNN."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["GruLayer", "GruTop", "keras_gru"]


class GruLayer(nn.Module):
    """One layer of gated recurrent units, whose one output is its state at every frame.

    torch's form: two biases, sigmoid gates, and the reset gate behind the product with the last state.
    """

    def __init__(self, width_in: int, units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width_in, units, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, width_in) -> (batch, frames, units)."""
        states, _ = self.gru(frames)
        return states


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
    for name, parameter in layer.gru.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        for gate in parameter.chunk(3):
            (nn.init.xavier_uniform_ if name == "weight_ih_l0" else nn.init.orthogonal_)(gate)
