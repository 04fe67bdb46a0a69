"""Training one network: a stream of epochs that knows nothing of searches.

Whoever asks for the next epoch decides whether there is one.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from search.evaluation import evaluate
from search.feed import Feed
from search.metrics import score
from search.optimizer import Optimizer, make
from search.schedule import Progress
from search.settings import Training

# The front ends of the mel networks are standardised with the mean and deviation of this many segments: the paper
# takes the whole training input, whose two scalars these give to three digits at a fraction of the time.
CALIBRATION_SEGMENTS = 1024


class Diverged(ArithmeticError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch did. Losses are means over segments and tags; AUCs are macro means over clip scores."""

    epoch: int
    stage: int
    learning_rate: float
    train_loss: float
    valid_loss: float
    valid_roc_auc: float
    valid_pr_auc: float
    new_best: bool
    last: bool
    seconds: float


class Fit:
    """The stream of epochs of one training; iterate to train, stop to stop.

    After the last epoch the network holds the weights that count, the best of the last stage, and
    `best_probabilities` (clips, tags) is what they say of the validation clips.
    The same seed gives the same epochs, also when `restore` continues from another process's `state`.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Feed,
        valid: Feed,
        training: Training,
        seed: int,
        segments: int | None = None,
    ) -> None:
        """segments: how many of the training split's an epoch takes; None for all."""
        self.network, self.train, self.valid = network, train, valid
        self.training, self.seed, self.segments = training, seed, segments
        self.device = next(network.parameters()).device
        self.progress = Progress()
        _set_norm_momentum(network, training.norm_momentum)
        self.best: dict[str, Tensor] = {}
        self.best_probabilities = torch.empty(0)
        self.optimizer = self._fresh_optimizer()

    def __iter__(self) -> Iterator[Epoch]:
        while not self.progress.finished:
            yield self._epoch()

    def _epoch(self) -> Epoch:
        """Train on one pass, look at the validation clips, keep the weights if they are the best."""
        started = time.perf_counter()
        before = self.progress
        if before.epoch == 0:
            self._calibrate()
        if before.starts_stage:
            self._start_stage()
        train_loss, updates = self._train_pass()
        evaluation = evaluate(self.network, self.valid)
        if not math.isfinite(train_loss + evaluation.loss):
            raise Diverged(f"the loss is {train_loss} in training and {evaluation.loss} in validation")
        self.progress = before.after_epoch(evaluation.loss, updates, self.training)
        new_best = self.progress.best_epoch == before.epoch + 1
        if new_best:
            self.best = copied(self.network.state_dict())
            self.best_probabilities = torch.from_numpy(evaluation.probabilities)
        if self.progress.finished:
            self.network.load_state_dict(self.best)
        scores = score(evaluation.probabilities, self.valid.split.labels, self.valid.split.tags)
        return Epoch(
            epoch=self.progress.epoch,
            stage=before.stage,
            learning_rate=self.training.learning_rates[before.stage],
            train_loss=train_loss,
            valid_loss=evaluation.loss,
            valid_roc_auc=scores.roc_auc,
            valid_pr_auc=scores.pr_auc,
            new_best=new_best,
            last=self.progress.finished,
            seconds=time.perf_counter() - started,
        )

    def _calibrate(self) -> None:
        waves = self.train.batches(self.training.batch_size, self.seed, epoch=0, limit=CALIBRATION_SEGMENTS)
        zoo.calibrate(self.network, (wave for wave, _ in waves))

    def _start_stage(self) -> None:
        if self.best:
            self.network.load_state_dict(self.best)
        self.optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> Optimizer:
        how = self.training
        return make(how.optimizer, self.network.parameters(), how.momentum, how.weight_decay)

    def _train_pass(self) -> tuple[float, int]:
        """One pass over the training segments: their mean loss, and the number of updates."""
        # Dropout draws from torch's own generator: seeding it by the epoch makes a resumed epoch the same epoch.
        torch.manual_seed(self.seed * 1_000_003 + self.progress.epoch)
        self.network.train()
        total, updates = torch.zeros((), device=self.device), 0
        rate = self.training.learning_rates[self.progress.stage]
        for wave, tags in self.train.batches(
            self.training.batch_size, self.seed, self.progress.epoch, self.training.crops, self.segments
        ):
            decay = 1 + self.training.lr_decay * (self.progress.updates + updates)
            total += self._update(wave, tags, rate / decay)
            updates += 1
        return float(total) / max(updates, 1), updates

    def _update(self, wave: Tensor, tags: Tensor, learning_rate: float) -> Tensor:
        loss = binary_cross_entropy_with_logits(self.network(wave), tags)
        loss.backward()
        self.optimizer.step(learning_rate)
        return loss.detach()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next epoch depends on: tensors by name, and the progress as JSON values."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors["best_probabilities"] = self.best_probabilities
        for slot, values in self.optimizer.slots.items():
            tensors |= {f"{slot}.{name}": value for name, value in zip(self._trained(), values, strict=True)}
        return copied(tensors), asdict(self.progress)

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go on from another Fit's `state`."""
        self.progress = Progress(**progress)
        self.network.load_state_dict(_part(tensors, "network."))
        self.best = {name: value.to(self.device) for name, value in _part(tensors, "best.").items()}
        self.best_probabilities = tensors["best_probabilities"]
        self.optimizer = self._fresh_optimizer()
        self.optimizer.steps = self.progress.updates
        for slot in {name.partition(".")[0] for name in tensors} - {"network", "best", "best_probabilities"}:
            values = _part(tensors, f"{slot}.")
            self.optimizer.slots[slot] = [values[name].to(self.device) for name in self._trained()]

    def _trained(self) -> list[str]:
        """The names of the optimizer's parameters, in its order."""
        return [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]


def _set_norm_momentum(network: nn.Module, momentum: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = momentum


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, whatever the network does next."""
    return {name: value.detach().clone() for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
