"""When a stage of training ends, when training does, and at what rate each update goes: pure rules.

The paper's are five restarted stages.
"""

import math
from dataclasses import dataclass, replace

from search.settings import Training

WARM_SHARE = 0.3  # of a cycle, in which its rate climbs


@dataclass(frozen=True)
class Progress:
    """Where a training stands between two epochs.

    epoch:           epochs done, over all stages.
    stage:           index of the stage that the next epoch belongs to.
    stage_epoch:     epochs done in this stage.
    updates:         optimizer steps done in this stage (the rate decays with them).
    best_loss:       lowest validation loss of this stage; infinite before its first epoch.
    best_epoch:      the epoch (1, 2, ...) whose weights count: the best of this stage, or of the last one at
                     the start of a stage.
    without_best:    consecutive epochs without a new best.
    finished:        the last stage has ended.
    """

    epoch: int = 0
    stage: int = 0
    stage_epoch: int = 0
    updates: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    without_best: int = 0
    finished: bool = False

    @property
    def starts_stage(self) -> bool:
        """The next epoch is the first of a stage: best weights of the one before, a fresh optimizer."""
        return self.stage_epoch == 0

    def after_epoch(self, valid_loss: float, updates: int, training: Training) -> "Progress":
        """The standing after one more epoch.

        A loss equal to the best is no new best. "Did not decrease more than 3 epochs": with patience 3 the stage
        ends on the fourth epoch in a row without a new best. A stage forgets the best loss of the one before.
        source: the authors' early stopping (Keras 1.1.0 tests its patience before it counts the epoch).
        """
        better = valid_loss < self.best_loss
        now = replace(
            self,
            epoch=self.epoch + 1,
            stage_epoch=self.stage_epoch + 1,
            updates=self.updates + updates,
            best_loss=min(valid_loss, self.best_loss),
            best_epoch=self.epoch + 1 if better else self.best_epoch,
            without_best=0 if better else self.without_best + 1,
        )
        patient = training.one_cycle or now.without_best <= training.patience
        if patient and now.stage_epoch < training.epochs_per_stage:
            return now
        if now.stage + 1 == len(training.learning_rates):
            return replace(now, finished=True)
        return Progress(epoch=now.epoch, stage=now.stage + 1, best_epoch=now.best_epoch)


def learning_rate(training: Training, stage: int, updates: int, updates_per_epoch: int) -> float:
    """Of the update after so many in this stage."""
    rate = training.learning_rates[stage]
    if not training.one_cycle:
        return rate / (1 + training.lr_decay * updates)
    done = (updates + 0.5) / (training.epochs_per_stage * updates_per_epoch)
    if done < WARM_SHARE:
        return rate * done / WARM_SHARE
    return rate * (1 + math.cos(math.pi * (done - WARM_SHARE) / (1 - WARM_SHARE))) / 2


def told_rate(training: Training, stage: int, updates: int, updates_per_epoch: int) -> float:
    """What an epoch tells after so many updates of the stage: the stage's rate, or in a cycle the last update's."""
    if not training.one_cycle:
        return training.learning_rates[stage]
    return learning_rate(training, stage, updates - 1, updates_per_epoch)
