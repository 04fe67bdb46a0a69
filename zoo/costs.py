"""What networks without a closed form cost, counted once and kept in costs.csv, so that a plan needs no torch.

`python -m zoo.recount` writes the file, and a test holds it to the networks. A network that is not in it is counted
when its cost is asked for.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from zoo.facts import Cost

__all__ = ["FILE", "Headless", "known"]

FILE = Path(__file__).with_name("costs.csv")


@dataclass(frozen=True)
class Headless:
    """The cost of all but the dense head, as it was counted.

    width:  of the embedding that the head reads. frames: how many embeddings it reads in one segment.
    frozen: as in Cost.
    tag_bytes: what training keeps of each tag, where the head's output is not the logits yet.
    """

    parameters: int
    multiply_adds: int
    training_bytes: int
    width: int
    frames: int = 1
    frozen: int = 0
    tag_bytes: int = 0

    def with_head(self, n_tags: int) -> Cost:
        """The cost of the whole network."""
        return Cost(
            self.parameters + (self.width + 1) * n_tags,
            self.multiply_adds + self.width * n_tags * self.frames,
            self.training_bytes + self.tag_bytes * n_tags,
            self.frozen,
        )


@cache
def known() -> dict[str, Headless]:
    """The costs in the file, by the name of the network with the options it is listed with."""
    with FILE.open(encoding="utf-8", newline="") as file:
        numbers = [field.name for field in fields(Headless)]
        return {row["name"]: Headless(*(int(row[key]) for key in numbers)) for row in csv.DictReader(file)}
