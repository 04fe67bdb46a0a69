"""Training one network: a stream of epochs that knows nothing of searches.

Whoever asks for the next epoch decides whether there is one.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from search.failures import Diverged
from search.scoring.metrics import score
from search.settings import Training
from search.trials.cuda_graphs import Stepper
from search.trials.evaluation import evaluate
from search.trials.feed import Feed
from search.trials.optimizer import Optimizer, make
from search.trials.precision import check, computing, full, lay
from search.trials.schedule import Progress, learning_rate, told_rate
from search.trials.team import ALONE, Team

# The front ends of the mel networks are standardised with the mean and deviation of this many segments: the paper
# takes the whole training input, whose two scalars these give to three digits at a fraction of the time.
CALIBRATION_SEGMENTS = 1024
# The first words of a state's names that are no slots of its optimizer.
OTHERS = {"network", "best", "best_probabilities", "losses", "random"}


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
    micro_batch_size: int


@dataclass
class Pass:
    """How far the pass of the epoch that runs has come.

    batches: done. losses: their sum, () on the network's device, so that no step waits for it.
    began:   when, by time.perf_counter, less what earlier processes had spent on it.
    """

    batches: int
    losses: Tensor
    began: float


# Waves (batch, samples), tags (batch, n_tags), learning rate of its step
Batch = tuple[Tensor, Tensor, float]
Dialogue = Generator[Batch, Tensor | None, Epoch]


class Fit:
    """The stream of epochs of one training; iterate to train, stop to stop.

    After the last epoch the network holds the weights that count, the best of the last stage, and
    `best_probabilities` (clips, tags) is what they say of the validation clips.
    The same seed gives the same epochs, also when `restore` continues from another process's `state`, and when
    `restore_moment` continues from its `moment` in the middle of an epoch.

    between:          called after each batch and each clip looked at; what it raises leaves the epoch where it is.
    micro_batch_size: a batch goes through the network in parts of at most so many segments (see `shrink`) and is
                      still one step along the mean gradient of all of them. Batch norm then takes its statistics
                      from each part, so numbers differ from those of whole batches; each epoch says what it took.
    share:            of this process's time that counts as the training's; less than 1 while it trains beside others.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Feed,
        valid: Feed,
        training: Training,
        seed: int,
        segments: int | None = None,
        team: Team = ALONE,
    ) -> None:
        """segments: how many of the training split's an epoch takes; None for all. team: who trains along.

        raises: SearchError if the network's device can't compute in the precision that is asked for.
        """
        check(training, next(network.parameters()).device)
        self.network, self.train, self.valid = network, train, valid
        self.training, self.seed, self.segments = training, seed, segments
        self.device = next(network.parameters()).device
        self.progress = Progress()
        _set_norm_momentum(network, training.norm_momentum)
        lay(training.precision, network)
        self.team, self.shared = team, team.network(network)
        self.best: dict[str, Tensor] = {}
        self.best_probabilities = torch.empty(0)
        self.optimizer = self._fresh_optimizer()
        self.between: Callable[[], None] = lambda: None
        self.micro_batch_size, self.share = training.batch_size, 1.0
        self._pass: Pass | None = None  # of the epoch that runs; None between two epochs
        self.stepper = Stepper(
            [lambda wave, tags: self.gradients(wave, tags)],
            network.buffers,
            captures=self.device.type == "cuda",
        )

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self._pass is not None

    def __iter__(self) -> Iterator[Epoch]:
        while not self.progress.finished:
            yield self._alone(self.epoch())

    def _alone(self, epoch: Dialogue) -> Epoch:
        loss = None
        with closing(epoch):
            while True:
                try:
                    batch = epoch.send(loss)
                except StopIteration as end:
                    return end.value
                loss = self._step(*batch)

    def epoch(self) -> Dialogue:
        """Train on one pass, look at the validation clips, keep the weights if they are the best.

        Gives batches, and wants for each its mean loss once its step is taken: whoever asks may take several networks'
        batches together. Returns the epoch.
        """
        before = self.progress
        current = self._pass = self._pass or self._begin()
        yield from self._train(current)
        train_loss = float(current.losses) / max(current.batches, 1)
        evaluation = evaluate(self.network, self.valid, self.between, self.team)
        self._pass = None
        if not math.isfinite(train_loss + evaluation.loss):
            raise Diverged(f"the loss is {train_loss} in training and {evaluation.loss} in validation")
        self.progress = before.after_epoch(evaluation.loss, current.batches, self.training)
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
            learning_rate=told_rate(
                self.training, before.stage, before.updates + current.batches, self.updates_per_epoch
            ),
            train_loss=train_loss,
            valid_loss=evaluation.loss,
            valid_roc_auc=scores.roc_auc,
            valid_pr_auc=scores.pr_auc,
            new_best=new_best,
            last=self.progress.finished,
            seconds=self._seconds(current),
            micro_batch_size=self.micro_batch_size,
        )

    @property
    def batch(self) -> int:
        """Segments of a batch."""
        return min(self.training.batch_size, self.segments or len(self.train), len(self.train))

    @cached_property
    def step_multiply_adds(self) -> int:
        """Of a batch forwards."""
        return self.batch * self.train.entry.cost(self.train.split.labels.shape[1]).multiply_adds

    @property
    def updates_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.train.split.n_batches(self.training.batch_size, self.segments)

    def _seconds(self, current: Pass) -> float:
        """What the pass has taken so far."""
        return self.share * (time.perf_counter() - current.began)

    def _begin(self) -> Pass:
        """All that comes before the first batch of an epoch."""
        began = time.perf_counter()
        if self.progress.epoch == 0:
            self._calibrate()
        if self.progress.starts_stage:
            self._start_stage()
        # Dropout draws from torch's own generator: seeding it by the epoch makes a resumed epoch the same epoch.
        torch.manual_seed(self.seed * 1_000_003 + self.progress.epoch)
        return Pass(0, torch.zeros((), device=self.device), began)

    def _calibrate(self) -> None:
        waves = self.train.batches(self.training.batch_size, self.seed, epoch=0, limit=CALIBRATION_SEGMENTS)
        zoo.calibrate(self.network, (wave for wave, _ in waves))

    def _start_stage(self) -> None:
        if self.best:
            self.network.load_state_dict(self.best)
        self.optimizer.forget()

    def _fresh_optimizer(self) -> Optimizer:
        how = self.training
        return make(how.optimizer, self.network.parameters(), how.momentum, how.weight_decay)

    def _train(self, current: Pass) -> Generator[Batch, Tensor, None]:
        """What is left of one pass over the training segments."""
        self.network.train()
        how = self.training
        self.team.batch = self.batch
        batches = self.train.batches(
            how.batch_size,
            self.seed,
            self.progress.epoch,
            how.crops,
            self.segments,
            current.batches,
            self.team,
        )
        per_epoch = self.updates_per_epoch
        with closing(batches):
            for wave, tags in batches:
                updates = self.progress.updates + current.batches
                current.losses += yield (
                    wave,
                    tags,
                    learning_rate(how, self.progress.stage, updates, per_epoch),
                )
                current.batches += 1
                self.between()

    def _step(self, wave: Tensor, tags: Tensor, rate: float) -> Tensor:
        """One step along the mean gradient of the batch. Returns its mean loss."""
        if self.team.ranks > 1 or self._parts_of(wave) > 1:
            loss = self.gradients(wave, tags)
            self.optimizer.step(rate)
            return loss
        (loss,) = self.stepper.step([self.optimizer], [rate], [wave], [tags])
        return loss

    def gradients(self, wave: Tensor, tags: Tensor) -> Tensor:
        """Leave the mean gradient of the batch in the parameters. Returns its mean loss."""
        parts = self._parts_of(wave)
        total = torch.zeros((), device=self.device)
        with computing(self.training.precision, self.device) as forwards:
            for some, wanted in zip(wave.tensor_split(parts), tags.tensor_split(parts), strict=True):
                with forwards:
                    logits = self.shared(some)
                loss = binary_cross_entropy_with_logits(full(logits), wanted)
                loss = loss * (len(some) / len(wave) * self.team.mean_weight(len(wave)))
                loss.backward()
                total += loss.detach()
        return self.team.total(total) / self.team.ranks

    def _parts_of(self, wave: Tensor) -> int:
        return _parts(len(wave), self.micro_batch_size) if self.team.ranks == 1 else 1

    def uncapture(self) -> bool:
        """Let go of the memory of a captured step, and capture none any more; False if there is none."""
        if self.stepper.graph is None:
            return False
        self.stepper.graph, self.stepper.captures = None, False
        return True

    def shrink(self) -> bool:
        """Halve the parts that batches go through the network in; False if they can't be smaller."""
        batch, halved = self.training.batch_size, -(-self.micro_batch_size // 2)
        if self.team.ranks > 1:  # each would have to come down at the same batch
            return False
        if _parts(batch, halved) == _parts(batch, self.micro_batch_size):
            return False
        self.micro_batch_size = halved
        return True

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next epoch depends on: tensors by name, and the progress as JSON values."""
        tensors = self._learned()
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors["best_probabilities"] = self.best_probabilities
        return copied(tensors), {**asdict(self.progress), "micro_batch_size": self.micro_batch_size}

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go on from another Fit's `state`."""
        known = {key: value for key, value in progress.items() if key != "micro_batch_size"}
        self.progress = Progress(**known)
        self.micro_batch_size = progress.get("micro_batch_size", self.training.batch_size)
        self.best = {name: value.to(self.device) for name, value in _part(tensors, "best.").items()}
        self.best_probabilities = tensors["best_probabilities"]
        self._learn(tensors, self.progress.updates)

    def moment(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest of this epoch depends on beside the state at its beginning, in the form of `state`.

        To be asked for inside an epoch, by `between`.
        """
        assert self._pass is not None
        tensors = self._learned() | {"losses": self._pass.losses, "random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return copied(tensors), {
            "epoch": self.progress.epoch,
            "batches": self._pass.batches,
            "seconds": self._seconds(self._pass),
            "micro_batch_size": self.micro_batch_size,
        }

    def restore_moment(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bool:
        """Go on from another Fit's `moment`; False, and nothing is done, if this one is at another epoch."""
        if about["epoch"] != self.progress.epoch or about["micro_batch_size"] > self.micro_batch_size:
            return False
        self.micro_batch_size = about["micro_batch_size"]
        self._learn(tensors, self.progress.updates + about["batches"])
        torch.set_rng_state(tensors["random.cpu"].cpu())
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), self.device)
        began = time.perf_counter() - about["seconds"]
        self._pass = Pass(about["batches"], tensors["losses"].to(self.device, copy=True), began)
        return True

    def _learned(self) -> dict[str, Tensor]:
        """The network's tensors and the optimizer's, by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for slot, values in self.optimizer.slots.items():
            named = zip(self._trained(), values, strict=True)
            tensors |= {f"{slot}.{name}": value for name, value in named}
        return tensors

    @torch.no_grad()
    def _learn(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Take over another Fit's `_learned`, after so many steps of its optimizer."""
        self.network.load_state_dict(_part(tensors, "network."))
        self.optimizer = self._fresh_optimizer()
        self.optimizer.steps = steps
        for slot in {name.partition(".")[0] for name in tensors} - OTHERS:
            values = _part(tensors, f"{slot}.")
            named = zip(self._trained(), self.optimizer.parameters, strict=True)
            # As its parameter lies, without which torch's own kernel for a step takes neither
            self.optimizer.slots[slot] = [torch.empty_like(it).copy_(values[name]) for name, it in named]

    def _trained(self) -> list[str]:
        """The names of the optimizer's parameters, in its order."""
        return [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]


def _parts(segments: int, most: int) -> int:
    """In how many parts so many segments go through the network, none larger than `most` and none of one segment."""
    return max(min(-(-segments // most), segments // 2), 1)


def _set_norm_momentum(network: nn.Module, momentum: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = momentum


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, whatever the network does next."""
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
