"""Smoke: does the whole way work, from music to a published model?

Question: none about music. Four small networks, one of each kind of first layer, so that a change can be tried in
          a minute.
Cost:     0.1 GFLOP a segment for all four.
Run:      python -m search.run space=smoke
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.spaces import Point

if TYPE_CHECKING:
    import optuna

PAPER_TABLE = "table3"
GRID = [
    {"network": "samplecnn_m3_n4_s243"},
    {"network": "samplecnn_m4_n4_s64"},
    {"network": "samplecnn_m3_n5_s243_w729"},
    {"network": "melcnn_m3_n4_s729_w729"},
]


def sample(trial: optuna.Trial) -> Point:
    return Point(trial.suggest_categorical("network", [point["network"] for point in GRID]))
