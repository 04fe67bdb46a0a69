"""Table 4: how do sample-level networks compare with what there was before them?

Question: persistent CNN, 2D CNN, CRNN, the 1D CNN on waveforms, and the paper's two best, all on the same clips.
Cost:     7 networks; nearly all of it in fcn6, fcn4 and samplecnn_m3_n9_s3.
Target:   0.9013 persistent_cnn, 0.894 fcn4, 0.8487 dieleman_raw, 0.9059 melcnn_m3_n6_s81_w243 and 0.9055
          samplecnn_m3_n9_s3 on MTAT; 0.851 fcn6, 0.862 crnn_3m and 0.8812 samplecnn_m3_n9_s3 on MSD.
          Choi's own slides call the MSD numbers of the 2D CNN not reproduced.
Run:      python -m search.run space=table4 dataset=mtat budget=paper

Every network is trained by its own authors' optimizer, first rate, batch and weight decay, as far as they are known
(python -m zoo info NAME), in the stages of the budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.spaces import Point, own_training, table_grid

if TYPE_CHECKING:
    import optuna

PAPER_TABLE = "table4"
GRID = table_grid(PAPER_TABLE)


def sample(trial: optuna.Trial) -> Point:
    network = trial.suggest_categorical("network", [point["network"] for point in GRID])
    return Point(network, training=own_training(network))
