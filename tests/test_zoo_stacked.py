"""Several m^n networks as one: each gives what it gives alone, layer by layer.

Without a GPU the kernels are run by Triton's interpreter on the processor (see conftest.py).
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from stacked_networks import (
    MEL,
    RAW,
    a_batch,
    a_network,
    as_one,
    each_alone,
    far_from_exact,
    learned,
    one_way,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from search.trials.optimizer import make
from zoo.fast import together
from zoo.fast.noise import Chance
from zoo.fast.stacked import Stacked
from zoo.fast.windows import Windows
from zoo.trained.folded import folded

pytest.importorskip("triton", reason="Triton is not part of this torch")
from search.trials import step_kernels
from zoo.fast import gradient_kernels, kernels, sample_kernels

FAR = 1e-3  # of a whole network, in which now and then another frame of a pool is the largest
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", [RAW, MEL, "samplecnn_m3_n3_s27"])
def test_networks_as_one_are_the_networks_of_each(name: str, on_processor: torch.device) -> None:
    _check_as_one(name, on_processor)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "name", ["samplecnn_m3_n4_s729", "melcnn_m3_n4_s729_w729", "samplecnn_m2_n9_s32", "samplecnn_m4_n4_s64"]
)
def test_networks_as_one_on_a_gpu_are_the_networks_of_each(name: str) -> None:
    _check_as_one(name, torch.device("cuda"))


def _check_as_one(name: str, device: torch.device) -> None:
    networks = [a_network(seed, name, dropout=0.0).to(device) for seed in range(3)]
    exact = [deepcopy(network).double() for network in networks]
    waves, tags = a_batch(networks, 4 if device.type == "cpu" else 23, device)
    losses = as_one(networks, waves, tags)
    wanted = each_alone(exact, waves.double(), tags.double())
    assert torch.allclose(losses.double(), wanted, rtol=1e-5)
    for found, theirs in zip(learned(networks), learned(exact), strict=True):
        assert far_from_exact(found, theirs) < FAR
        assert found["top.norm.num_batches_tracked"] == theirs["top.norm.num_batches_tracked"] == 1


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_networks_as_one_are_as_near_in_fewer_digits_as_layer_by_layer(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [a_network(seed, "samplecnn_m3_n4_s729", dropout=0.0).cuda() for seed in range(3)]
    exact, plain = [deepcopy(it).double() for it in networks], [deepcopy(it) for it in networks]
    waves, tags = a_batch(networks, 23, torch.device("cuda"))
    as_one(networks, waves, tags, precision)
    monkeypatch.setattr(together, "_has_kernels", lambda: False)
    each_alone(plain, waves, tags, precision)
    each_alone(exact, waves.double(), tags.double())
    for found, by_layers, wanted in zip(learned(networks), learned(plain), learned(exact), strict=True):
        assert far_from_exact(found, wanted) < 1.5 * far_from_exact(by_layers, wanted)


def test_networks_as_one_take_a_step_in_bfloat16(on_processor: torch.device) -> None:
    networks = [a_network(seed, dropout=0.0) for seed in range(2)]
    exact, plain = [deepcopy(it).double() for it in networks], [deepcopy(it) for it in networks]
    waves, tags = a_batch(networks, 12, on_processor)
    as_one(networks, waves, tags, "bf16")
    for network in plain:
        for layer in [it for it in network.modules() if isinstance(it, nn.Conv1d)]:
            layer.register_forward_hook(lambda *given: None)
    each_alone(plain, waves, tags, "bf16")
    each_alone(exact, waves.double(), tags.double())
    for found, by_layers, wanted in zip(learned(networks), learned(plain), learned(exact), strict=True):
        assert far_from_exact(found, wanted) < 1.5 * far_from_exact(by_layers, wanted)


def test_each_is_left_out_of_what_its_own_dropout_says(on_processor: torch.device) -> None:
    networks = [a_network(seed, dropout=share) for seed, share in enumerate((0.0, 0.5, 0.9))]
    alone = deepcopy(networks)
    waves, tags = a_batch(networks, 4, on_processor)
    torch.manual_seed(5)
    losses = as_one(networks, waves, tags)
    torch.manual_seed(5)
    state, wanted = torch.get_rng_state(), list[torch.Tensor]()
    for network, wave, said in zip(alone, waves, tags, strict=True):
        torch.set_rng_state(state)
        wanted.append(each_alone([network], wave.unsqueeze(0), said.unsqueeze(0)))
    assert torch.allclose(losses, torch.cat(wanted), rtol=1e-5)
    assert losses.unique().numel() == 3


@pytest.mark.parametrize(("name", "copies"), [(RAW, 0), (MEL, 1)])
def test_frames_are_laid_where_the_next_block_reads_them(
    name: str, copies: int, on_processor: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, real = list[int](), Windows.of
    monkeypatch.setattr(Windows, "of", lambda frames, m, left: (copied.append(m), real(frames, m, left))[1])
    networks = [a_network(seed, name) for seed in range(2)]
    as_one(networks, *a_batch(networks, 4, on_processor))
    assert len(copied) == copies


@pytest.mark.parametrize("name", [RAW, "samplecnn_m3_n3_s27", MEL])
def test_networks_as_one_are_scored_with_weights_as_they_lie_in_a_checkpoint(
    name: str, on_processor: torch.device
) -> None:
    """Else other algorithms would be taken on a GPU, which give other bits."""
    networks = [a_network(seed, name) for seed in range(2)]
    loaded = deepcopy(networks[0])
    together = Stacked(networks, [Chance(on_processor) for _ in networks])
    assert any(
        one.stride() != other.stride() for one, other in zip(*parameters_of(networks[0], loaded), strict=True)
    )
    for one, other in zip(*parameters_of(folded(networks[0]), folded(loaded)), strict=True):
        assert one.stride() == other.stride()
    together.close()


def parameters_of(*networks: nn.Module) -> list[list[torch.Tensor]]:
    return [[*network.parameters()] for network in networks]


def test_a_decay_that_a_rule_adds_to_a_gradient_is_gone_in_the_next_step(on_processor: torch.device) -> None:
    networks = [a_network(seed, dropout=0.0) for seed in range(2)]
    for network in networks:
        nn.init.ones_(network.top.conv.bias)
    alone = deepcopy(networks)
    waves, tags = a_batch(networks, 4, on_processor)
    together = Stacked(networks, [Chance(on_processor) for _ in networks])
    optimizers = [make("sgd", it.parameters(), weight_decay=0.1) for it in (*networks, *alone)]
    for _ in range(4):
        one_way(together, waves, tags)
        each_alone(alone, waves, tags)
        for optimizer in optimizers:
            optimizer.step(0.01)
    for network, other in zip(networks, alone, strict=True):
        assert torch.allclose(network.top.conv.bias, other.top.conv.bias, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 0.95])
def test_what_makes_up_for_what_is_left_out_is_not_rounded(share: float, on_processor: torch.device) -> None:
    networks = [a_network(seed, dropout=share) for seed in range(2)]
    together = Stacked(networks, [Chance(on_processor) for _ in networks])
    noise = torch.empty(2, 40, 50)
    together._draw(torch.empty(40, 50, dtype=torch.bfloat16), noise)
    kept = noise[noise != 0]
    assert kept.numel() == pytest.approx((1 - share) * noise.numel(), abs=200)
    assert torch.equal(kept, torch.full_like(kept, 1 / (1 - share)))


def test_what_is_loaded_between_steps_counts(on_processor: torch.device) -> None:
    """As a stage begins from the best weights, with their statistics."""
    networks, others = ([a_network(seed, dropout=0.0) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    waves, tags = a_batch(networks, 4, on_processor)
    together = Stacked(networks, [Chance(on_processor) for _ in networks])
    one_way(together, waves, tags)
    for network, other in zip(networks, others, strict=True):
        network.load_state_dict(other.state_dict())
    losses, wanted = one_way(together, waves, tags), as_one(others, waves, tags)
    assert torch.equal(losses, wanted)
    for found, theirs in zip(learned(networks), learned(others), strict=True):
        assert all(torch.equal(found[name], it) for name, it in theirs.items())


# What makes a view or takes memory, and launches nothing on a GPU.
NO_LAUNCH = {
    *("view", "_unsafe_view", "transpose", "permute", "unsqueeze", "squeeze", "t", "expand", "as_strided"),
    *("slice", "select", "unbind", "alias", "detach", "empty", "new_empty", "empty_like", "empty_strided"),
    *("new_empty_strided", "lift_fresh"),
}


class Launches(TorchDispatchMode):
    """Counts what a GPU would be asked for; the kernels do nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.count = 0
        for module in (kernels, gradient_kernels, sample_kernels, step_kernels):
            for name in module.__all__:
                monkeypatch.setattr(module, name, self)

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        self.count += function.overloadpacket.__name__ not in NO_LAUNCH
        return function(*given, **(named or {}))

    def __getitem__(self, programs: object) -> Callable[..., None]:
        def launch(*given: object, **named: object) -> None:
            self.count += 1

        return launch


@pytest.mark.parametrize("name", ["samplecnn_m3_n4_s729", "samplecnn_m3_n6_s81"])
def test_eight_as_one_are_launched_as_often_as_two(
    name: str, on_processor: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [zoo.create(name).train() for _ in range(8)]
    waves, tags = a_batch(networks, 2, on_processor)
    launches = Launches(monkeypatch)
    together = Stacked(networks, [Chance(on_processor) for _ in networks])
    launches.count = 0
    with launches:
        one_way(together, waves, tags, "bf16")
    eight, launches.count = launches.count, 0
    networks[0].zero_grad()  # as after an optimizer's step
    with launches:
        each_alone(networks[:1], waves[:1], tags[:1], "bf16")
    print(f"{name}: {launches.count} launches of one, {eight} of eight as one, without optimizers")
    assert eight < 2 * launches.count
