"""What a network says of every clip of a split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from search.feed import Feed
from search.team import ALONE, Team


@dataclass(frozen=True)
class Evaluation:
    """probabilities: (clips, tags) float64, each the mean of the clip's segments' sigmoids.
    loss: mean binary cross entropy over all segments and tags (what the authors' early stopping watches).
    """

    probabilities: NDArray[np.float64]
    loss: float


def evaluate(
    network: nn.Module, feed: Feed, between: Callable[[], None] = lambda: None, team: Team = ALONE
) -> Evaluation:
    """Score all fixed segments of every clip, clip by clip: how many never depends on a batch size.

    The network is left in evaluation mode. between: called after each clip; what it raises ends the evaluation.
    team: whose processes share the clips; each gets the whole evaluation.
    """
    device = next(network.parameters()).device
    network.eval()
    labels = torch.from_numpy(feed.split.labels.astype(np.float32)).to(device)
    probabilities = torch.zeros(labels.shape, dtype=torch.float64, device=device)
    losses, segments = torch.zeros((2,), dtype=torch.float64, device=device)
    with torch.inference_mode():
        for clip, wave in feed.clips(team):
            logits = network(wave)
            wanted = labels[clip].expand_as(logits)
            losses += binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            probabilities[clip] = torch.sigmoid(logits.double()).mean(dim=0)
            segments += len(logits)
            between()
    losses, segments, probabilities = (team.total(each) for each in (losses, segments, probabilities))
    return Evaluation(probabilities.cpu().numpy(), float(losses / segments) / labels.shape[1])
