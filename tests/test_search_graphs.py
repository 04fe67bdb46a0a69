"""How steps of training are taken where graphs can't be had; what graphs do is tests/test_search_gpu.py."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from processes import few_clips, settings  # noqa: F401  (a fixture)
from torch import Tensor, nn

from search.trials import cuda_graphs
from search.trials.at_once import AtOnce
from search.trials.cuda_graphs import Stepper
from search.trials.optimizer import Optimizer, make
from search.trials.trial import PLAIN, Trial
from zoo.fast.noise import Chance

Stepping = tuple[Stepper, list[Optimizer], list[nn.Linear], list[str]]
WAVES, TAGS = torch.ones(3, 4), torch.zeros(3, 2)


def two_trainings() -> Stepping:
    """A stepper that tries graphs, its optimizers and networks, and what was called in between."""
    torch.manual_seed(0)
    networks, called = [nn.Linear(4, 2) for _ in range(2)], list[str]()

    def lane(network: nn.Linear) -> Any:
        def gradients(waves: Tensor, tags: Tensor) -> Tensor:
            called.append("gradients")
            loss = (network(waves) - tags).square().mean()
            loss.backward()
            return loss.detach()

        return gradients

    class Told(Chance):
        @contextmanager
        def own(self) -> Iterator[None]:
            called.append("own")
            with super().own():
                yield

    lanes = [lane(network) for network in networks]
    stepper = Stepper(lanes, lambda: [], True, [Told(torch.device("cpu")) for _ in networks])
    return stepper, [make("nesterov", network.parameters()) for network in networks], networks, called


def refuses(error: Exception) -> Any:
    def made(*given: object) -> AbstractContextManager[None]:
        raise error

    return made


def taken(stepping: Stepping) -> Sequence[Tensor]:
    stepper, optimizers, _, _ = stepping
    return stepper.step(optimizers, [0.1, 0.2], [WAVES, WAVES], [TAGS, TAGS])


def test_what_no_graph_can_hold_is_stepped_through_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []
    monkeypatch.setattr(
        cuda_graphs, "GraphedStep", lambda *given: (tries.append(1), refuses(RuntimeError("it waits"))())
    )
    stepping = two_trainings()
    stepper, optimizers, networks, called = stepping
    before = [network.weight.detach().clone() for network in networks]
    losses = [taken(stepping) for _ in range(2)]
    assert len(tries) == 1
    assert not stepper.captures
    assert called == ["own", "gradients"] * 4
    assert [optimizer.steps for optimizer in optimizers] == [2, 2]
    assert all((network.weight != old).any() for network, old in zip(networks, before, strict=True))
    assert all(second < first for first, second in zip(*losses, strict=True))


@pytest.mark.usefixtures("fresh_home")
def test_why_a_trial_is_stepped_through_stands_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "GraphedStep", refuses(RuntimeError("it waits")))
    with Trial(settings(), "cpu", {}) as trial:
        trial.advance()
        assert not (trial.folder / PLAIN).exists()
        trial.fit.stepper.captures = True
        trial.advance()
    assert (trial.folder / PLAIN).read_text().rstrip().endswith("RuntimeError: it waits")


@pytest.mark.usefixtures("fresh_home")
def test_why_a_trial_gave_its_graph_up_for_memory_stands_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with Trial(settings(), "cpu", {}) as trial:
        trial.fit.stepper.captures = True
        monkeypatch.setattr(trial.fit.stepper, "_captured", too_large)
        trial.fit.stepper.graph = object()  # type: ignore[assignment]
        assert trial.advance()["micro_batch_size"] == settings().training.batch_size
    assert (trial.folder / PLAIN).read_text().rstrip().endswith("OutOfMemoryError: CUDA out of memory.")


@pytest.mark.parametrize("chained", [False, True])
def test_the_end_of_memory_in_a_capture_is_told(chained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch may tell of the capture that it broke instead, while it handles the other."""
    error: Exception = torch.OutOfMemoryError("CUDA out of memory.")
    if chained:
        memory, error = error, RuntimeError("the capture was invalidated")
        error.__context__ = memory
    monkeypatch.setattr(cuda_graphs, "GraphedStep", refuses(error))
    stepping = two_trainings()
    with pytest.raises(type(error)):
        taken(stepping)
    assert stepping[0].captures


def test_all_at_once_takes_the_place_of_each_way_to_the_gradients() -> None:
    """Where no graph can be had, too."""
    stepper, optimizers, networks, called = two_trainings()
    stepper.captures = False
    given: list[tuple[torch.Size, torch.Size]] = []

    class All(AtOnce):
        def __init__(self) -> None: ...

        def gradients(self, waves: Tensor, tags: Tensor) -> Tensor:
            given.append((waves.shape, tags.shape))
            for k, network in enumerate(networks):
                for it in network.parameters():
                    it.grad = torch.full_like(it, k + 1.0)
            return torch.tensor([0.3, 0.4])

    stepper.at_once = All()
    before = [network.weight.detach().clone() for network in networks]
    losses = stepper.step(optimizers, [0.1, 0.2], [WAVES, WAVES], [TAGS, TAGS])
    assert [float(loss) for loss in losses] == pytest.approx([0.3, 0.4])
    assert given == [((2, 3, 4), (2, 3, 2))]
    assert not called
    moved = [
        float((old - network.weight.detach()).mean()) for network, old in zip(networks, before, strict=True)
    ]
    assert moved == pytest.approx([0.1 * 1.9, 0.2 * 2 * 1.9])  # Nesterov's first step is 1 + momentum long
