"""Trainings of networks of one form, epoch by epoch as one: K seeds, learning rates or dropouts for the calls of one.

Each keeps what is its own: its order of the data, its optimizer, its stages, its random numbers. What they share is the
way through the network and back, which `zoo.replicas` takes for all at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from search.failures import Diverged
from search.graphs import Gradients, Stepper
from search.optimizer import Optimizer
from search.precision import computing, full
from search.settings import SearchError
from search.team import ALONE
from search.training import Batch, Dialogue, Epoch, Fit
from zoo.noise import Chance, DrawnAhead
from zoo.replicas import Replicas

# (optimizers, rates, waves, tags) -> losses; see Stepper.step
Steps: TypeAlias = Callable[
    [Sequence[Optimizer], Sequence[float], Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]
]

# What trainings may differ in; the rest decides how the network computes, or how many batches an epoch has.
FREE = (
    "learning_rates",
    "epochs_per_stage",
    "patience",
    "optimizer",
    "momentum",
    "weight_decay",
    "lr_decay",
    "one_cycle",
    "crops",
)


def fit_together(
    fits: Sequence[Fit], wanted: Callable[[int], bool] = lambda index: True
) -> Iterator[tuple[int, Epoch | Diverged]]:
    """The epochs of all of them, as each would train alone but for rounding: (which of them, its epoch).

    A round is an epoch of each; then those go on whose schedule has more, that have not diverged, and that are wanted.
    wanted: asked before each of its epochs with the place of a fit in `fits`: whether it is to go on.
    raises: SearchError or zoo.ZooError, before anything is trained, if they can't be trained as one.
    """
    _check(fits)
    chances = [Chance(fit.device) for fit in fits]
    going = list(range(len(fits)))
    with ExitStack() as held:
        together: Steps | None = None
        while wanting := [i for i in going if not fits[i].progress.finished and wanted(i)]:
            if together is None or wanting != going:
                held.close()
                networks, chosen = [fits[i].network for i in wanting], [chances[i] for i in wanting]
                lanes = [fits[i].gradients for i in wanting]
                together = held.enter_context(steps_of(networks, lanes, chosen, fits[0].training.precision))
            going = wanting
            ends = _one_epoch([fits[i] for i in going], [chances[i] for i in going], together)
            for i, end in list(zip(going, ends, strict=True)):
                yield i, end
                if isinstance(end, Diverged):
                    going.remove(i)
                    together = None


@contextmanager
def steps_of(
    networks: Sequence[nn.Module], lanes: Sequence[Gradients], chances: Sequence[Chance], precision: str
) -> Iterator[Steps]:
    """What takes a step of each network at once.

    On a GPU each goes its own way, `lanes`, in one graph; on a processor all go through their layers together.
    """
    if chances[0].device.type != "cuda":
        yield partial(_through_their_layers, Replicas(networks, chances), precision)
        return
    noise = DrawnAhead(networks, chances)
    buffers = [it for network in networks for it in network.buffers()]
    try:
        yield Stepper(lanes, lambda: buffers, True, noise.draw, noise.undrawn).step
    finally:
        noise.close()


def _through_their_layers(
    replicas: Replicas,
    precision: str,
    optimizers: Sequence[Optimizer],
    rates: Sequence[float],
    waves: Sequence[Tensor],
    tags: Sequence[Tensor],
) -> Sequence[Tensor]:
    """As Stepper.step does, each layer for all networks at once."""
    device = waves[0].device
    with computing(precision, device) as forwards:
        with forwards:
            logits = replicas(torch.stack(list(waves)))
        wanted = torch.stack(list(tags))
        losses = binary_cross_entropy_with_logits(full(logits), wanted, reduction="none").mean(dim=(1, 2))
        losses.sum().backward()
    replicas.share_gradients()
    for optimizer, rate in zip(optimizers, rates, strict=True):
        optimizer.step(rate)
    return losses.detach().unbind()


def _check(fits: Sequence[Fit]) -> None:
    first = fits[0]
    for other in fits[1:]:
        for name, value in vars(first.training).items():
            theirs = getattr(other.training, name)
            if name not in FREE and theirs != value:
                raise SearchError(
                    f"trainings with {name}={value} and {theirs} can't be one; train them apart"
                )
        if _segments(other) != _segments(first):
            raise SearchError(
                f"trainings with epochs of {_segments(first)} and {_segments(other)} segments can't be one; "
                f"train them apart"
            )
    if any(fit.team != ALONE for fit in fits):
        raise SearchError("trainings that several processes share can't be one; give each one process")
    if any(fit.micro_batch_size < fit.training.batch_size for fit in fits):
        raise SearchError("trainings whose batches are cut in parts to fit into memory can't be one")


def _segments(fit: Fit) -> int:
    return min(fit.segments or len(fit.train), len(fit.train))


def _one_epoch(fits: Sequence[Fit], chances: Sequence[Chance], together: Steps) -> list[Epoch | Diverged]:
    """How the epoch of each ends; all have as many batches."""
    dialogues = [fit.epoch() for fit in fits]
    losses: Iterable[Tensor | None] = [None] * len(fits)
    try:
        while True:
            said = [_answer(*each) for each in zip(dialogues, chances, losses, strict=True)]
            if ends := [each for each in said if isinstance(each, Epoch | Diverged)]:
                return ends
            waves, tags, rates = zip(*(each for each in said if isinstance(each, tuple)), strict=True)
            optimizers = [fit.optimizer for fit in fits]  # each stage has its own
            losses = together(optimizers, rates, waves, tags)
    finally:
        for dialogue in dialogues:
            dialogue.close()


def _answer(dialogue: Dialogue, chance: Chance, loss: Tensor | None) -> Batch | Epoch | Diverged:
    """What a training says to the loss of its batch: the next batch, or how its epoch ends."""
    with chance.own():
        try:
            return dialogue.send(loss)
        except StopIteration as end:
            return end.value
        except Diverged as error:
            return error
