"""A block in training on a GPU, as one step, against its layers one after the other.

Without a GPU the kernels are run by Triton's interpreter on the processor (see conftest.py), which shows that their
arithmetic is right.
"""

import math
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from kernels_without_gpu import distances
from torch import Tensor, nn

import zoo
from zoo.fast import together
from zoo.layers.tower import ConvBlock, same_pad

pytest.importorskip("triton", reason="Triton is not part of this torch")
from search.trials import step_kernels
from zoo.fast import gradient_kernels, kernels, sample_kernels

SINGLE = 3e-6  # relative to the length of all values together
# Of many pools one or two have frames so alike that float32 takes another for the largest than float64 does.
MANY = 1e-3
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which blocks were computed as one step."""
    from zoo.fast import fused_gpu

    taken: list[str] = []
    for name in ("filtered_block", "sample_block"):
        real = getattr(fused_gpu, name)
        monkeypatch.setattr(
            fused_gpu, name, lambda *given, n=name, real=real: (taken.append(n), real(*given))[1]
        )
    return taken


def block_of(length: int, channels: int, pad: tuple[int, int], pool: int, width: int = 7) -> ConvBlock:
    """Filters at every frame, with pooling, or side by side; scales of both signs and one of zero."""
    torch.manual_seed(length)
    stride = length if pool == 1 else 1
    block = ConvBlock(channels, width, length, stride=stride, pad=pad, pool=pool)
    with torch.no_grad():
        block.norm.weight.copy_(torch.randn(width))
        block.norm.weight[2] = 0
        block.norm.bias.copy_(torch.randn(width))
        block.conv.bias.copy_(torch.randn(width))
    return block


def trained(block: ConvBlock, frames: Tensor, with_gradient: bool) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one step in training."""
    block, frames = deepcopy(block), frames.clone().requires_grad_(with_gradient)
    output = block.train()(frames)
    weights = torch.linspace(-1, 1, output.numel(), device=output.device, dtype=torch.float64).reshape(
        output.shape
    )
    (output * weights.sin()).sum().backward()
    found = {"output": output.detach(), **dict(block.named_buffers())}
    found |= {name: each.grad for name, each in block.named_parameters() if name != "conv.bias"}
    return found | ({"frames": frames.grad} if with_gradient else {})


def one_by_one(block: ConvBlock, frames: Tensor, with_gradient: bool) -> dict[str, Tensor]:
    """The same in float64 by the layers, as someone looks at one of them."""
    block = deepcopy(block).double()
    block.conv.register_forward_hook(lambda *given: None)
    return trained(block, frames.double(), with_gradient)


POOLED = [
    (m, padding, clips, pools)
    for m in (2, 3, 4, 5)
    for padding in ("theano", "torch")
    for clips, pools in ((2, 7), (3, 40))
]
SIDE_BY_SIDE = [(3, 1, 3, 100), (5, 1, 2, 3001), (8, 1, 2, 200), (9, 1, 3, 100), (1, 6, 23, 1), (2, 6, 5, 9)]


@pytest.mark.parametrize("by_products", [True, False])
@pytest.mark.parametrize(("m", "padding", "clips", "pools"), POOLED)
def test_a_pooled_block_is_its_layers(
    m: int,
    padding: str,
    clips: int,
    pools: int,
    by_products: bool,
    on_processor: torch.device,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zoo.fast.convolving._to_the_last_digit", lambda: by_products)
    _check_pooled(m, padding, clips, pools, on_processor, steps)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("m", "padding", "clips", "pools"), [*POOLED, (3, "theano", 23, 2187), (2, "theano", 5, 4096)]
)
def test_a_pooled_block_is_its_layers_on_a_gpu(
    m: int, padding: str, clips: int, pools: int, steps: list[str]
) -> None:
    _check_pooled(m, padding, clips, pools, torch.device("cuda"), steps)


def _check_pooled(
    m: int, padding: str, clips: int, pools: int, device: torch.device, steps: list[str]
) -> None:
    width = 7 if pools < 1000 else 128
    block = block_of(m, 3 if width == 7 else 128, same_pad(m, padding), m, width).to(device)
    frames = torch.randn(clips, block.conv.in_channels, m * pools, device=device)
    with in_float32():
        found = trained(block, frames, with_gradient=True)
    assert steps == ["filtered_block"]
    far = distances(found, one_by_one(block, frames, with_gradient=True))
    assert {name: value for name, value in far.items() if value > (SINGLE if width == 7 else MANY)} == {}


@pytest.mark.parametrize(("length", "channels", "clips", "samples"), SIDE_BY_SIDE)
def test_filters_side_by_side_are_their_layers(
    length: int, channels: int, clips: int, samples: int, on_processor: torch.device, steps: list[str]
) -> None:
    _check_side_by_side(length, channels, clips, samples, on_processor, steps)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("length", "channels", "clips", "samples"), [*SIDE_BY_SIDE, (3, 1, 23, 59049)])
def test_filters_side_by_side_are_their_layers_on_a_gpu(
    length: int, channels: int, clips: int, samples: int, steps: list[str]
) -> None:
    _check_side_by_side(length, channels, clips, samples, torch.device("cuda"), steps)


def _check_side_by_side(
    length: int, channels: int, clips: int, samples: int, device: torch.device, steps: list[str]
) -> None:
    block = block_of(length, channels, (0, 0), 1).to(device)
    frames = torch.randn(clips, channels, samples, device=device)
    from_wave = channels == 1 and length <= 8
    with in_float32():
        found = trained(block, frames, with_gradient=not from_wave)
    assert steps == ["sample_block" if from_wave else "filtered_block"]
    far = distances(found, one_by_one(block, frames, with_gradient=not from_wave))
    assert {name: value for name, value in far.items() if value > SINGLE} == {}


def in_float32() -> torch.backends.ContextProp:
    """Convolutions and products without TF32, which no device but a GPU knows."""
    from search.trials.precision import computing

    return computing("float32", torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_kernel_compiles_for_a_gpu_that_need_not_be_here(capability: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compiled_kernels.py")
    done = subprocess.run(
        [sys.executable, str(script), capability],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = [line.split() for line in done.stdout.splitlines()]
    modules = (kernels, gradient_kernels, sample_kernels, step_kernels)
    inner = {"normed", "at_least_zero", "beside", "place"}
    assert {name for name, _ in sizes} == {name for it in modules for name in it.__all__} - inner
    assert all(int(size) > 1000 for _, size in sizes)


@pytest.mark.parametrize("value", [float("nan"), -1.0, 0.0, 2.0])
def test_a_block_shows_what_is_no_number(value: float, on_processor: torch.device) -> None:
    block = block_of(3, 3, (1, 1), 3)
    frames = torch.randn(2, 3, 9)
    frames[0, 0, 0] = value
    assert bool(block.train()(frames).isnan().any()) == math.isnan(value)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "name", ["samplecnn_m3_n7_s9", "samplecnn_m2_n8_s64", "samplecnn_m3_n4_s729", "melcnn_m3_n4_s729_w729"]
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_on_a_gpu_is_its_layers(
    name: str, precision: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.trials.precision import computing, full

    torch.manual_seed(0)
    network = zoo.create(name, dropout=0.0).cuda().train()
    waves = torch.rand(23, network.input_samples, device="cuda") * 2 - 1
    tags = (torch.rand(23, network.n_tags, device="cuda") < 0.1).float()

    def gradients(of: nn.Module, values: Tensor) -> dict[str, Tensor]:
        with computing(precision if values.dtype == torch.float32 else "float32", values.device) as forwards:
            with forwards:
                logits = of(values)
            nn.functional.binary_cross_entropy_with_logits(full(logits), tags.to(values.dtype)).backward()
        return {key: each.grad for key, each in of.named_parameters() if not key.endswith("conv.bias")}

    found = gradients(network, waves)
    assert steps
    monkeypatch.setattr(together, "_has_kernels", lambda: False)
    exact = zoo.create(name, dropout=0.0)
    exact.load_state_dict({key: it.cpu() for key, it in network.state_dict().items()})
    wanted = gradients(exact.cuda().double().train(), waves.double())
    plain = zoo.create(name, dropout=0.0).cuda().train()
    torch.manual_seed(0)
    fresh = zoo.create(name, dropout=0.0)
    plain.load_state_dict(fresh.state_dict())
    by_layers = gradients(plain, waves)

    def far(these: dict[str, Tensor]) -> float:
        """Relative length of what is wrong of all gradients together."""
        wrong = sum(float((these[key].double() - it).square().sum()) for key, it in wanted.items())
        return (wrong / sum(float(it.square().sum()) for it in wanted.values())) ** 0.5

    print(f"{name} {precision}: ours {far(found):.2e}, layer by layer {far(by_layers):.2e}")
    assert far(found) < max(1.5 * far(by_layers), 1e-5)
