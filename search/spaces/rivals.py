"""Rivals: do the networks that came after the paper hold up on the same clips?

Question: the SampleCNN of 2018 with its residual, squeeze-and-excitation and multi-level forms, short-chunk CNN,
          musicnn, Harmonic CNN and self-attention, beside the paper's best.
Cost:     19 networks, most of it in the residual ones.
Target:   0.9113 samplecnn_rese2_multi on the paper's split of MTAT. 0.9129 short_chunk_res and its like were scored
          on a cleaned split, so that their published numbers do not compare; trained here, they do.
Run:      python -m search.run space=rivals dataset=mtat budget=paper

Every network is trained by its own authors' optimizer, first rate, batch and weight decay, as far as they are known
(python -m zoo info NAME), in the stages of the budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zoo
from search.spaces import Point, own_training

if TYPE_CHECKING:
    import optuna

FAMILIES = ("samplecnn_blocks", "short_chunk", "musicnn", "harmonic_cnn", "cnnsa")
NETWORKS = ["samplecnn_m3_n9_s3", *(name for name in zoo.names() if zoo.entry(name).family in FAMILIES)]
GRID = [{"network": name} for name in NETWORKS]


def sample(trial: optuna.Trial) -> Point:
    network = trial.suggest_categorical("network", NETWORKS)
    return Point(network, training=own_training(network))
