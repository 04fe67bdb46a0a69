"""What others published of a network, beside what was measured here."""

from collections.abc import Mapping
from typing import Any

import zoo
from search.intervals import Interval

# The test clips that the published numbers are of, by data set and split; a part of them does not compare.
TEST_CLIPS = {("mtat", "paper"): 4332, ("msd", "paper"): 28_435}
WITHIN, ABOVE, BELOW = "within", "above", "below"


def published(network: str, table: str | None, dataset: str) -> zoo.PaperRow | None:
    """The row of one of the paper's tables; None where there is none.

    table:   whose numbers are wanted; None asks for none.
    dataset: its own rows where the paper has it (MSD's are in Table 4 alone), else MTAT's, to look at only.
    """
    if table is None:
        return None
    wanted = "msd" if dataset == "msd" else "mtat"
    rows = [
        row for row in zoo.entry(network).paper if row.dataset == wanted and row.table.startswith("table")
    ]
    own = [row for row in rows if row.table == table]
    return next(iter(own or (rows if wanted == "msd" else [])), None)


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
