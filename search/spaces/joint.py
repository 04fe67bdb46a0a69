"""Joint: which network and which training together?

Question: the paper varied m, depth and input one grid at a time at one way of training. What is best when filters,
          dropout, initialisation, learning rate and batch may vary with them?
Cost:     `trials` trainings, each between 0.005 and 7 G multiply-adds a segment.
Target:   better than 0.9055 on MTAT, or the same for less.
Run:      python -m search.run space=joint trials=50 dataset=mtat

A network is legal when m^n * stride is its input. So the input and m are chosen first and the stride is asked for
as a point on a log2 scale that every pair shares, then moved to the nearest stride that solves the equation: no
proposal is ever thrown away, and what a sampler learns of short strides at one m holds at the others. The depth n
follows from the three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from search.spaces import Point

if TYPE_CHECKING:
    import optuna

# The two input lengths (samples) at which the paper compared each m.
INPUTS = {2: (16384, 32768), 3: (19683, 59049), 4: (16384, 65536), 5: (15625, 78125)}
SHORTEST_STRIDE, LONGEST_STRIDE = 2, 729


def strides(m: int, input_samples: int) -> dict[int, int]:
    """Stride -> depth for every network of three or more modules that reads exactly `input_samples`."""
    depths = range(3, int(math.log(input_samples, m)) + 1)
    solved = {input_samples // m**n: n for n in depths if input_samples % m**n == 0}
    return {stride: n for stride, n in solved.items() if SHORTEST_STRIDE <= stride <= LONGEST_STRIDE}


def nearest(legal: Mapping[int, int], log2_stride: float) -> tuple[int, int]:
    """The legal stride next to a point on the log2 scale, and its depth."""
    return min(legal.items(), key=lambda known: abs(math.log2(known[0]) - log2_stride))


def architecture(trial: optuna.Trial) -> tuple[int, int, int]:
    """m, depth and stride of a network whose m^n * stride is one of the paper's inputs."""
    m = trial.suggest_categorical("m", list(INPUTS))
    length = trial.suggest_categorical("input", ["short", "long"])
    log2_stride = trial.suggest_float("log2_stride", 1.0, math.log2(LONGEST_STRIDE))
    stride, depth = nearest(strides(m, INPUTS[m][length == "long"]), log2_stride)
    return m, depth, stride


def sample(trial: optuna.Trial) -> Point:
    m, depth, stride = architecture(trial)
    return Point(
        network=f"samplecnn_m{m}_n{depth}_s{stride}",
        options={
            "first": trial.suggest_categorical("first_filters", [16, 32, 64, 128]),
            "filters": trial.suggest_categorical("filters", ["half", "paper", "double", "ramp"]),
            "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
            "init": trial.suggest_categorical("init", ["he_uniform", "keras110"]),
        },
        training={
            "first_learning_rate": trial.suggest_float("learning_rate", 0.002, 0.05, log=True),
            "batch_size": trial.suggest_categorical("batch_size", [16, 23, 32]),
        },
    )


def prior(network: str) -> dict[str, object] | None:
    """Where a network of Table 2 lies in this space, trained as in the paper; None for what it can't reach."""
    for m, inputs in INPUTS.items():
        for length, samples in zip(("short", "long"), inputs, strict=True):
            for stride, depth in strides(m, samples).items():
                if network == f"samplecnn_m{m}_n{depth}_s{stride}":
                    return {"m": m, "input": length, "log2_stride": math.log2(stride), **AS_PUBLISHED}
    return None


AS_PUBLISHED = {
    "first_filters": 128,
    "filters": "paper",
    "dropout": 0.5,
    "init": "he_uniform",
    "learning_rate": 0.01,
    "batch_size": 23,
}
