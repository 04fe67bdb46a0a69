"""A trained network as the start of another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.checkpoint import read
from zoo.errors import CheckpointError
from zoo.locate import fetched

if TYPE_CHECKING:
    from torch import nn

    from zoo.card import Card

__all__ = ["initial_weights"]


def initial_weights(network: nn.Module, uri: str | Path) -> Card:
    """Copy a checkpoint's weights and running statistics into a network of the same name and options.

    Options that change nothing in a trained network, such as dropout, may differ.

    The dense head comes along only if it has as many tags as the network's; otherwise the network keeps its own.
    network: of `zoo.create`; its training mode is left as it is.
    uri:     as in `zoo.load`.
    returns: the checkpoint's card, whose tags are those of its head, in order.
    raises:  ZooError if there is no such checkpoint, or if it is of another network or of other options.
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
    return card
