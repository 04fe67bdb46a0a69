"""Filters: how many does the first layer need, and how wide should the network be?

Question: 16 filters in the first layer, growing to 512, were enough for MTAT in the paper's preliminary tests,
          while MSD gained from 128 (section 5.3). What do 16, 32, 64, 128 and more give on the same clips?
Cost:     10 trainings of samplecnn_m3_n9_s3, the widest four times the cost of Table 1's.
Target:   0.9055 on MTAT and 0.8812 on MSD at 128 filters; the paper prints no number for 16.
Run:      python -m search.run space=filters dataset=mtat budget=paper

Two plans at each number of first filters: "ramp" grows from them to 512 in even doublings, which is our reading of
"16 to 512 along the layers"; "paper" keeps the modules of Table 1, so that the first layer alone changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.spaces import Point

if TYPE_CHECKING:
    import optuna

NETWORK = "samplecnn_m3_n9_s3"
GRID = [
    *({"first": first, "filters": plan} for first in (16, 32, 64, 128) for plan in ("ramp", "paper")),
    {"first": 256, "filters": "paper"},
    {"first": 128, "filters": "double"},
]


def sample(trial: optuna.Trial) -> Point:
    return Point(
        NETWORK,
        options={
            "first": trial.suggest_categorical("first", [16, 32, 64, 128, 256]),
            "filters": trial.suggest_categorical("filters", ["ramp", "paper", "double"]),
        },
    )
