"""Table 3: spectrogram or waveform, frames or samples?

Question: at one input of 59,049 samples, how do mel spectrograms, frame-level and sample-level waveforms compare,
          and what does a window longer than its hop add?
Cost:     13 networks, 6 PFLOP an epoch on MTAT, most of it in samplecnn_m3_n9_s3 and _n8_s9.
Target:   0.9059 for melcnn_m3_n6_s81_w243, 0.9055 for samplecnn_m3_n9_s3, 0.8655 for samplecnn_m3_n4_s729.
Run:      python -m search.run space=table3 dataset=mtat budget=paper
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.spaces import Point, table_grid

if TYPE_CHECKING:
    import optuna

PAPER_TABLE = "table3"
GRID = table_grid(PAPER_TABLE)


def sample(trial: optuna.Trial) -> Point:
    return Point(trial.suggest_categorical("network", [point["network"] for point in GRID]))
