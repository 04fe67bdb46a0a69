"""What others published of a network, beside what was measured here."""

from collections.abc import Mapping
from typing import Any

import zoo
from search.scoring.intervals import Interval

# The test clips that the published numbers are of, by data set and split; a part of them does not compare.
TEST_CLIPS = {("mtat", "paper"): 4332, ("msd", "paper"): 28_435}
WITHIN, ABOVE, BELOW = "within", "above", "below"


def rows_of(network: str, dataset: str) -> list[zoo.PaperRow]:
    """What the paper's tables have for a network: on MSD where that is the data set, else on MTAT, to look at."""
    wanted = "msd" if dataset == "msd" else "mtat"
    return [
        row for row in zoo.entry(network).paper if row.dataset == wanted and row.table.startswith("table")
    ]


def published(network: str, table: str | None, dataset: str) -> zoo.PaperRow | None:
    """The network's row in one of the paper's tables; None where there is none, or no table is asked for.

    MSD's rows are in Table 4 alone, so for MSD any table will do.
    """
    if table is None:
        return None
    rows = rows_of(network, dataset)
    own = [row for row in rows if row.table == table]
    return next(iter(own or (rows if dataset == "msd" else [])), None)


def comparable(row: zoo.PaperRow, protocol: Mapping[str, Any]) -> bool:
    """Whether a number of this protocol is of the very clips that the published one is of."""
    clips = TEST_CLIPS.get((row.dataset, row.split))
    return (protocol["dataset"], protocol["convention"], protocol["clips"]) == (row.dataset, row.split, clips)


def lies(row: zoo.PaperRow, protocol: Mapping[str, Any], ours: Interval | None) -> str:
    """Where the published number lies: within our 95 % interval, above or below it; "" where the two don't compare."""
    if ours is None or not comparable(row, protocol):
        return ""
    if row.auc in ours:
        return WITHIN
    return ABOVE if row.auc > ours.high else BELOW
