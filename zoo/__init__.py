"""Networks for music auto-tagging, by name: all of Lee et al. 2017, Tables 2 to 4, and those after it.

    zoo.names("samplecnn_m3*")              what there is
    zoo.entry("samplecnn_m3_n9_s3").cost()  what it is and what it costs, without torch
    zoo.create("samplecnn_m3_n9_s3")        the network: (batch, samples) waves -> (batch, tags) logits
    zoo.load("models:/demo-table2@champion")("song.mp3")    a trained one, as {tag: probability}

Importing `zoo` imports no torch; what needs it is loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo.entry import Entry, Family, Listing, Option
from zoo.errors import CheckpointError, ZooError
from zoo.facts import Certainty, Cost, Counted, HowTrained, PaperRow
from zoo.registry import entry, names, register

if TYPE_CHECKING:
    from zoo.layers.frontends import calibrate as calibrate
    from zoo.multilevel import load_bases as load_bases
    from zoo.rates import Resampler as Resampler
    from zoo.trained.card import Card as Card
    from zoo.trained.checkpoint import read as read
    from zoo.trained.checkpoint import save as save
    from zoo.trained.creating import create as create
    from zoo.trained.exporting import export as export
    from zoo.trained.foreign import adopt as adopt
    from zoo.trained.tagger import Tagger as Tagger
    from zoo.trained.tagger import load as load

__all__ = [
    "Certainty",
    "CheckpointError",
    "Cost",
    "Counted",
    "Entry",
    "Family",
    "HowTrained",
    "Listing",
    "Option",
    "PaperRow",
    "ZooError",
    "entry",
    "names",
    "register",
]

_LAZY = {
    "Card": "trained.card",
    "Resampler": "rates",
    "Tagger": "trained.tagger",
    "adopt": "trained.foreign",
    "calibrate": "layers.frontends",
    "create": "trained.creating",
    "export": "trained.exporting",
    "load_bases": "multilevel",
    "load": "trained.tagger",
    "read": "trained.checkpoint",
    "save": "trained.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(import_module(f"zoo.{_LAZY[name]}"), name)
