"""Several trainings in one process, step by step together: other seeds, learning rates, dropouts, or other networks.

Each keeps all that is its own: its order of the data, its optimizer, its stages, its random numbers. On a GPU their
steps are one graph. In it m^n networks of one kind go through layer by layer, all at once (zoo/fast/stacked.py);
others have a stream each, so that small ones fill what one leaves idle.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from torch import Tensor, nn

from search.errors import SearchError
from search.failures import Diverged
from search.trials.at_once import AtOnce
from search.trials.cuda_graphs import Gradients, Stepper
from search.trials.team import ALONE
from search.trials.training import Batch, Dialogue, Epoch, Fit
from zoo.fast.noise import Chance
from zoo.fast.stackable import can_be_stacked
from zoo.fast.stacked import Stacked


def fit_together(
    fits: Sequence[Fit], wanted: Callable[[int], bool] = lambda index: True
) -> Iterator[tuple[int, Epoch | Diverged]]:
    """The epochs of all of them, each as it would be alone: (which of them, its epoch).

    A round is an epoch of each; then those go on whose schedule has more, that have not diverged, and that are wanted.
    The seconds of an epoch are its share of the round's, by what a step of each computes.
    wanted: asked before each of its epochs with the place of a fit in `fits`: whether it is to go on.
    raises: SearchError, before anything is trained, if they can't be trained together. What a training raises, once
            the epochs that have ended are given: it leaves all of them where they are, and `between` of each is called.
    """
    _check(fits)
    chances = [Chance(fit.device) for fit in fits]
    going = list(range(len(fits)))
    while going := _going_on(fits, going, wanted):
        some, own = [fits[i] for i in going], [chances[i] for i in going]
        networks, lanes = [fit.network for fit in some], [fit.gradients for fit in some]
        with stepper_of(networks, lanes, own, *_alike(some)) as stepper:
            same = going
            while same == going:
                said = _one_epoch(some, own, stepper)
                if stepper.why_plain:
                    for fit in some:
                        fit.stepper.why_plain = stepper.why_plain
                    stepper.why_plain = ""
                ends = [(i, end) for i, end in zip(same, said, strict=True) if not isinstance(end, _Raised)]
                yield from ends
                for each in said:
                    if isinstance(each, _Raised):
                        raise each.error
                going = _going_on(fits, [i for i, end in ends if isinstance(end, Epoch)], wanted)


def _going_on(fits: Sequence[Fit], some: Sequence[int], wanted: Callable[[int], bool]) -> list[int]:
    return [i for i in some if not fits[i].progress.finished and wanted(i)]


@contextmanager
def stepper_of(
    networks: Sequence[nn.Module],
    lanes: Sequence[Gradients],
    chances: Sequence[Chance],
    batch: int | None,
    precision: str | None,
) -> Iterator[Stepper]:
    """What takes a step of each network at once; see Stepper. The networks train from here on.

    lanes: the way of each network to its gradients.
    batch, precision: segments of a batch of each, and in what it computes; None where they differ in it.
    """
    for network in networks:
        network.train()  # not left in evaluation by the epoch before
    on_gpu = chances[0].device.type == "cuda"
    buffers = [it for network in networks for it in network.buffers()]
    at_once = None
    try:
        if batch is not None and precision is not None and can_be_stacked(networks, batch):
            at_once = AtOnce(Stacked(networks, chances), precision)
        yield Stepper(lanes, lambda: buffers, on_gpu, chances, at_once)
    finally:
        if at_once is not None:
            at_once.close()


def _alike(fits: Sequence[Fit]) -> tuple[int | None, str | None]:
    """The size of a batch and the precision that all have; None for what they differ in."""
    batches, precisions = {fit.batch for fit in fits}, {fit.training.precision for fit in fits}
    return (
        batches.pop() if len(batches) == 1 else None,
        precisions.pop() if len(precisions) == 1 else None,
    )


def _check(fits: Sequence[Fit]) -> None:
    if len(counts := {fit.updates_per_epoch for fit in fits}) > 1:
        told = " and ".join(map(str, sorted(counts)))
        raise SearchError(f"trainings with epochs of {told} batches can't go together; train them apart")
    if len({fit.device for fit in fits}) > 1:
        raise SearchError("trainings on several devices can't go together; train them apart")
    if any(fit.in_epoch for fit in fits):
        raise SearchError("trainings that are in the middle of an epoch can't go together; end it alone")
    if any(fit.team != ALONE for fit in fits):
        raise SearchError("trainings that several processes share can't go together; give each one process")
    if any(fit.micro_batch_size < fit.training.batch_size for fit in fits):
        raise SearchError("trainings whose batches are cut in parts to fit into memory can't go together")


def _one_epoch(
    fits: Sequence[Fit], chances: Sequence[Chance], stepper: Stepper
) -> "list[Epoch | Diverged | _Raised]":
    """How the epoch of each ends; all have as many batches."""
    dialogues = [fit.epoch() for fit in fits]
    losses: Iterable[Tensor | None] = [None] * len(fits)
    whole = sum(fit.step_multiply_adds for fit in fits)
    for fit in fits:
        fit.share = fit.step_multiply_adds / whole
    try:
        while True:
            said = [_answer(*each) for each in zip(dialogues, chances, losses, strict=True)]
            if raised := [each for each in said if isinstance(each, _Raised)]:
                # All have heard of the step that all have taken, and those that would go on may save themselves, too.
                _leave(fits, chances, [i for i, each in enumerate(said) if isinstance(each, tuple)])
                return [raised[0] if isinstance(each, tuple) else each for each in said]
            if ends := [each for each in said if isinstance(each, Epoch | Diverged)]:
                return [*ends]
            waves, tags, rates = zip(*(each for each in said if isinstance(each, tuple)), strict=True)
            optimizers = [fit.optimizer for fit in fits]
            losses = stepper.step(optimizers, rates, waves, tags)
    finally:
        for fit, dialogue in zip(fits, dialogues, strict=True):
            dialogue.close()
            fit.share = 1.0


@dataclass(frozen=True)
class _Raised:
    """What a training raised, as it does where it is to be left."""

    error: BaseException


def _answer(dialogue: Dialogue, chance: Chance, loss: Tensor | None) -> Batch | Epoch | Diverged | _Raised:
    """What a training says to the loss of its batch: the next batch, or how its epoch ends."""
    with chance.own():
        try:
            return dialogue.send(loss)
        except StopIteration as end:
            return end.value
        except Diverged as error:
            return error
        except BaseException as error:
            return _Raised(error)


def _leave(fits: Sequence[Fit], chances: Sequence[Chance], those: Sequence[int]) -> None:
    """They are left because one beside them is: each does what it does where it is left."""
    for i in those:
        with suppress(Exception), chances[i].own():
            fits[i].between()
