"""What a network says of every clip of a split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from search.settings import FLOAT32
from search.trials.feed import Feed
from search.trials.precision import computing
from search.trials.team import ALONE, Team
from zoo.trained.folded import folded
from zoo.trained.tagger import segments_at_once


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
    """Score all fixed segments of every clip: how many never depends on a batch size.

    Whole clips go through the network together, in its form for asking (see zoo/trained/folded.py), in float32
    whatever it was trained in. How many follows from the network and the kind of device alone, as the bits of the
    scores do.
    The network is left in evaluation mode. between: called after each batch; what it raises ends the evaluation.
    team: whose processes share the clips; each gets the whole evaluation.
    """
    device = next(network.parameters()).device
    asked, most = folded(network.eval()), segments_at_once(feed.entry, feed.split.labels.shape[1], device)
    labels = torch.from_numpy(feed.split.labels.astype(np.float32)).to(device)
    probabilities = torch.zeros(labels.shape, dtype=torch.float64, device=device)
    losses, segments = torch.zeros((2,), dtype=torch.float64, device=device)
    with torch.inference_mode(), computing(FLOAT32, device):
        for clips, counts, waves in feed.clips_together(most, team):
            logits = asked(waves)
            whose = torch.tensor(clips).repeat_interleave(torch.tensor(counts)).to(device)
            wanted = labels.index_select(0, whose)
            losses += binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            each = torch.sigmoid(logits.double()).split(counts)
            probabilities[torch.tensor(clips)] = torch.stack([said.mean(dim=0) for said in each])
            segments += len(logits)
            between()
    losses, segments, probabilities = (team.total(each) for each in (losses, segments, probabilities))
    return Evaluation(probabilities.cpu().numpy(), float(losses / segments) / labels.shape[1])
