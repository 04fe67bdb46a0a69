"""A network by its name: with fresh weights, or with trained ones as its start."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from zoo.errors import CheckpointError
from zoo.facts import Value
from zoo.registry import entry
from zoo.trained.checkpoint import read
from zoo.trained.locate import fetched

__all__ = ["create"]


def create(
    name: str, n_tags: int = 50, *, weights: str | Path | None = None, **overrides: Value
) -> nn.Module:
    """Build a network of the zoo with fresh weights, drawn from torch's global generator, or with trained ones.

    name:      as in `zoo.entry`.
    n_tags:    number of tags, the length of a row of logits.
    weights:   a checkpoint of the same network and options, as in `zoo.load`: all of it is taken over, but for the
               dense head where that has another number of tags.
    overrides: options of the family, such as dropout=0.3; see `zoo.entry(name).options`.
    returns:   a module in training mode, (batch, input_samples) float32 in [-1, 1] -> (batch, n_tags) logits;
               its `entry` attribute is the record it was built from.
    raises:    ZooError as in `zoo.entry`, `Entry.with_options` and `zoo.load`, or for weights of another network.
    """
    network = entry(name).with_options(**overrides).build(n_tags)
    if weights is not None:
        _initialise(network, weights)
    return network


def _initialise(network: nn.Module, uri: str | Path) -> None:
    """Copy a checkpoint's weights and running statistics into a network of the same name and options.

    Options that change nothing in a trained network, such as dropout, may differ.

    The dense head comes along only if it has as many tags as the network's; otherwise the network keeps its own.
    raises: ZooError if there is no such checkpoint, or if it is of another network or of other options.
    """
    with fetched(uri) as (folder, _):
        trained, card = read(folder)
    try:
        card.check_network(network, exactly=False)
    except CheckpointError as error:
        raise CheckpointError(f"weights={uri} do not fit: {error}; create the network on the card") from error
    own = network.state_dict()
    # One name and one set of options: only the number of tags can make a shape differ, and only the head's.
    network.load_state_dict(
        {
            name: tensor if tensor.shape == own[name].shape else own[name]
            for name, tensor in trained.state_dict().items()
        }
    )
