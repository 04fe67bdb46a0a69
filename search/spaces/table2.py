"""Table 2: which m, which depth, which input length?

Question: does the filter of the first layer want to be as short as a few samples, and how deep is the network then?
Cost:     42 networks, 23 PFLOP an epoch on MTAT.
Target:   0.9055 for samplecnn_m3_n9_s3 (59,049 samples, 2.7 s); at every m the deepest are the best.
Run:      python -m search.run space=table2 dataset=mtat budget=paper
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.spaces import Point, table_grid

if TYPE_CHECKING:
    import optuna

PAPER_TABLE = "table2"
GRID = table_grid(PAPER_TABLE)


def sample(trial: optuna.Trial) -> Point:
    return Point(trial.suggest_categorical("network", [point["network"] for point in GRID]))
