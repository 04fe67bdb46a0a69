"""What the persistent CNN does with patches of frames: sum them up, tag each, and average the probabilities."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from zoo.layers.blocks1d import PlainBlock
from zoo.layers.persistence import PersistenceLandscape

__all__ = ["BothBranches", "MeanOfProbabilities", "patch_convolutions", "patch_summary"]


class BothBranches(nn.Module):
    """Maxima of a convolution and landscapes, side by side: (batch, channels, frames) -> (batch, width, patches).

    The convolution's last patch may be an incomplete one, which the landscapes have not; then it is left out.
    source: the authors' code, which crops both to the shorter.
    """

    def __init__(self, convolution: nn.Module, landscape: nn.Module) -> None:
        super().__init__()
        self.convolution, self.landscape = convolution, landscape

    def forward(self, frames: Tensor) -> Tensor:
        """Run both and join their channels, the convolution's first."""
        landscapes = self.landscape(frames)
        maxima = self.convolution(frames)[..., : landscapes.shape[2]]
        return torch.cat([maxima, landscapes], dim=1)


def patch_summary(
    channels: int, patch: int, *, convolution: int, functions: int, points: int, step: float
) -> tuple[nn.Module, int]:
    """What sums up patches, and the width of a summary.

    convolution: filters of the 1x1 convolution before the maximum; 0 has none.
    functions:   landscape functions of each channel, at `points` levels `step` apart; 0 has none.
    """
    if not functions:
        return PlainBlock(channels, convolution, 1, pool=patch, keep_end=True), convolution
    landscape = PersistenceLandscape(patch, functions, points, step)
    width = channels * functions * points
    if not convolution:
        return landscape, width
    maxima = PlainBlock(channels, convolution, 1, pool=patch, keep_end=True)
    return BothBranches(maxima, landscape), convolution + width


def patch_convolutions(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Two 1x1 convolutions with dropout before each and behind: (batch, width, patches) -> (batch, patches, hidden).

    The dense head then is the third.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in (1, 2):
        layers[f"dropout{i}"] = nn.Dropout(dropout)
        layers[str(i)] = PlainBlock(width, hidden, 1)
        width = hidden
    layers["dropout3"] = nn.Dropout(dropout)
    layers["patches_first"] = Transposed()
    return nn.Sequential(layers)


class Transposed(nn.Module):
    """(batch, channels, frames) -> (batch, frames, channels)."""

    def forward(self, frames: Tensor) -> Tensor:
        """Swap the last two."""
        return frames.transpose(1, 2)


class MeanOfProbabilities(nn.Module):
    """The logit of the mean over time of the probabilities: (batch, time, n_tags) -> (batch, n_tags).

    With p = mean sigmoid(x) and 1 - p = mean sigmoid(-x), it is log p - log (1 - p), and neither logarithm leaves
    its own scale: logits of any size have a finite result and a finite gradient, where p itself would be 0 or 1.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Average over dim 1."""
        yes, no = logsigmoid(logits), logsigmoid(-logits)
        return yes.logsumexp(dim=1) - no.logsumexp(dim=1)
