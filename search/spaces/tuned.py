"""Tuned: are the paper's networks still in that order when each is trained in its own best way?

Question: the paper trained all of Table 2 alike (dropout 0.5, first rate 0.01). Does the best of each m keep its
          place when learning rate and dropout are chosen for each?
Cost:     `trials` trainings in all, dealt to the four networks in turn: trials=40 gives ten to each.
Target:   0.9055 for samplecnn_m3_n9_s3, then 0.9041 (m=5), 0.9040 (m=2) and 0.9026 (m=4), with the paper's training.
Run:      python -m search.run space=tuned trials=40 dataset=mtat

The network is fixed for each trial and the sampler chooses the rest, with what it learned on all four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zoo
from search.spaces import Point

if TYPE_CHECKING:
    import optuna

PAPER_TABLE = "table2"


def best_of_each_m() -> list[str]:
    """The network with the highest AUC of the table at every m."""
    best: dict[object, tuple[float, str]] = {}
    for name in zoo.names(table=PAPER_TABLE):
        entry = zoo.entry(name)
        auc = next(row.auc for row in entry.paper if row.table == PAPER_TABLE)
        m = entry.options["m"]
        best[m] = max(best.get(m, (0.0, "")), (auc, name))
    return [name for _, name in best.values()]


NETWORKS = best_of_each_m()
ARCHITECTURES = [{"network": name} for name in NETWORKS]


def sample(trial: optuna.Trial) -> Point:
    return Point(
        trial.suggest_categorical("network", NETWORKS),
        options={"dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1)},
        training={"first_learning_rate": trial.suggest_float("learning_rate", 0.002, 0.05, log=True)},
    )


def prior(network: str) -> dict[str, object] | None:
    """The paper's way of training, for the networks of this space."""
    return {"network": network, "dropout": 0.5, "learning_rate": 0.01} if network in NETWORKS else None
