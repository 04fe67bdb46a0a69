"""Several m^n networks as one: each gives what it gives alone, layer by layer.

Without a GPU the kernels are run by Triton's interpreter on the processor (see conftest.py).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from kernels_without_gpu import distances, pass_for_a_gpu
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from search.trials.precision import computing, full
from zoo.fast import together
from zoo.fast.noise import Chance, DrawnAhead
from zoo.fast.stacked import Stacked, can_be_stacked
from zoo.fast.windows import Windows
from zoo.layers.tower import ConvBlock, same_pad

pytest.importorskip("triton", reason="Triton is not part of this torch")
from zoo.fast import fused_gpu, gradient_kernels, kernels, sample_kernels
from zoo.fast.fused_gpu import Norm, filtered_block

SINGLE = 3e-6  # relative to the length of all values together
FAR = 5e-3  # of a whole network, in which now and then another frame of a pool is the largest; of a wrong one about 1
RAW, MEL = "samplecnn_m2_n3_s16", "melcnn_m3_n3_s81_w81"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def on_processor(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A processor that passes for a GPU."""
    return pass_for_a_gpu(monkeypatch)


def a_network(seed: int, name: str = RAW, filters: str = "half", **options: object) -> nn.Module:
    """In training, with scales of both signs, statistics and spectrogram scale of its own."""
    torch.manual_seed(seed)
    network = zoo.create(name, filters=filters, **options).train()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d):
                for it in (layer.weight, layer.bias, layer.running_mean):
                    it.normal_()
        if hasattr(network.front, "mean"):
            network.front.mean.fill_(0.1 * seed)
            network.front.std.fill_(1.0 + seed)
    return network


def by_layers(block: ConvBlock) -> ConvBlock:
    """The same in float64 by its layers, as someone looks at one of them."""
    block = deepcopy(block).double()
    block.conv.register_forward_hook(lambda *given: None)
    return block


@pytest.mark.parametrize("most_programs", [1024, 1])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["theano", "torch"])
def test_a_block_of_several_networks_is_the_block_of_each(
    m: int, padding: str, most_programs: int, on_processor: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_gpu, "MOST_PROGRAMS", most_programs)
    lanes, clips, channels, width, pools = 3, 4, 4, 7, 9
    left, right = same_pad(m, padding)
    torch.manual_seed(m)
    blocks = [
        ConvBlock(channels, width, m, pad=(left, right), pool=m) if m > 1 else ConvBlock(channels, width, 1)
        for _ in range(lanes)
    ]
    for block in blocks:
        nn.init.normal_(block.norm.weight)
        nn.init.normal_(block.conv.bias)
        with torch.no_grad():
            block.norm.weight[2] = 0
    frames = torch.randn(lanes * clips, channels, m * pools)
    alone, wanted = [by_layers(block) for block in blocks], list[dict[str, Tensor]]()
    weights = torch.randn(lanes * clips, width, pools)
    for block, own, their_weights in zip(
        alone, frames.double().chunk(lanes), weights.chunk(lanes), strict=True
    ):
        own = own.clone().requires_grad_()
        output = block.train()(own)
        (output * their_weights).sum().backward()
        gradients = {name: it.grad for name, it in block.named_parameters() if name != "conv.bias"}
        wanted.append(
            {"output": output.detach(), "frames": own.grad, **gradients, **dict(block.named_buffers())}
        )

    frames.requires_grad_()
    given = {
        name: torch.stack(
            [dict(block.named_parameters())[name].detach() for block in blocks]
        ).requires_grad_()
        for name in dict(blocks[0].named_parameters())
    }
    moved = [
        torch.cat([getattr(block.norm, name) for block in blocks]) for name in ("running_mean", "running_var")
    ]
    flat = (given[name].flatten() for name in ("norm.weight", "norm.bias", "conv.bias"))
    norm = Norm(*flat, *moved, torch.zeros((), dtype=torch.long), blocks[0].norm.eps, blocks[0].norm.momentum)
    output = filtered_block(frames, given["conv.weight"], norm, left if m > 1 else -1, m)
    (output * weights).sum().backward()
    for lane, theirs in enumerate(wanted):
        found = {name: it.grad[lane] for name, it in given.items()}
        found |= {"output": output.detach().chunk(lanes)[lane], "frames": frames.grad.chunk(lanes)[lane]}
        names = ("norm.running_mean", "norm.running_var")
        found |= {name: it.chunk(lanes)[lane] for name, it in zip(names, moved, strict=True)}
        far = distances(
            found, {name: it for name, it in theirs.items() if name != "norm.num_batches_tracked"}
        )
        assert {name: value for name, value in far.items() if value > SINGLE} == {}


def learned(networks: Sequence[nn.Module]) -> list[dict[str, Tensor]]:
    """Gradients and statistics of each."""
    return [
        {
            name: it.grad.detach().cpu()
            for name, it in each.named_parameters()
            if not name.endswith("conv.bias")
        }
        | {name: it.detach().cpu() for name, it in each.named_buffers()}
        for each in networks
    ]


def a_batch(networks: Sequence[nn.Module], batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(9)
    shape = len(networks), batch
    waves = torch.rand(*shape, networks[0].input_samples, device=device) * 2 - 1
    return waves, (torch.rand(*shape, networks[0].n_tags, device=device) < 0.1).float()


def as_one(networks: list[nn.Module], waves: Tensor, tags: Tensor, precision: str = "float32") -> Tensor:
    """Leaves the gradients of each in it. Returns the loss of each."""
    noise = DrawnAhead(networks, [Chance(waves.device) for _ in networks])
    assert can_be_stacked(networks, waves.shape[1])
    losses = one_way(Stacked(networks, noise), waves, tags, precision)
    noise.close()
    return losses


def one_way(together: Stacked, waves: Tensor, tags: Tensor, precision: str = "float32") -> Tensor:
    with computing(precision, waves.device) as forwards:
        with forwards:
            logits = full(together.logits(waves))
        losses = binary_cross_entropy_with_logits(logits, tags, reduction="none").mean((1, 2))
        together.backward(losses.sum())
    return losses.detach()


def each_alone(
    networks: Sequence[nn.Module], waves: Tensor, tags: Tensor, precision: str = "float32"
) -> Tensor:
    losses = []
    for network, wave, wanted in zip(networks, waves, tags, strict=True):
        with computing(precision, waves.device) as forwards:
            with forwards:
                logits = full(network(wave))
            loss = binary_cross_entropy_with_logits(logits, wanted)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses)


def far_from_exact(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Relative length of what is wrong of all values together."""
    wrong = sum(float((found[name].double() - it).square().sum()) for name, it in wanted.items())
    return (wrong / sum(float(it.double().square().sum()) for it in wanted.values())) ** 0.5


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
    noise = DrawnAhead(alone, [Chance(on_processor) for _ in alone])
    wanted = each_alone(alone, waves, tags)
    noise.close()
    assert torch.allclose(losses, wanted, rtol=1e-5)
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


@pytest.mark.parametrize(("laid", "read"), [((2, 1), (2, 0)), ((2, 0), (2, 1)), ((3, 1), (2, 1))])
def test_frames_that_were_laid_for_another_block_are_copied(
    laid: tuple[int, int], read: tuple[int, int]
) -> None:
    room = Windows.room((4, 6, 5), laid, torch.empty(0)).normal_().transpose(1, 2)
    assert Windows.said_to_lie_in(room, *laid) is not None
    assert Windows.said_to_lie_in(room, *read) is None


def test_a_gradient_that_all_clips_share_is_read_where_it_is(on_processor: torch.device) -> None:
    torch.manual_seed(0)

    def to_weight(shared: bool) -> Tensor:
        torch.manual_seed(1)
        weight = torch.randn(2, 3, 3, 2, requires_grad=True)
        tensors = [torch.ones(6) for _ in range(5)]
        norm = Norm(*tensors, torch.zeros((), dtype=torch.long), 1e-5, 0.1)
        result = filtered_block(frames, weight, norm, 1, 2).transpose(1, 2)
        own = gradient.expand(4, 5, 3)
        result.backward(own if shared else own.contiguous())
        assert weight.grad is not None
        return weight.grad

    frames, gradient = torch.randn(4, 3, 10), torch.randn(5, 3)
    assert torch.equal(to_weight(shared=True), to_weight(shared=False))


def test_what_is_loaded_between_steps_counts(on_processor: torch.device) -> None:
    """As a stage begins from the best weights, with their statistics."""
    networks, others = ([a_network(seed, dropout=0.0) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    waves, tags = a_batch(networks, 4, on_processor)
    together = Stacked(networks, DrawnAhead(networks, [Chance(on_processor) for _ in networks]))
    one_way(together, waves, tags)
    for network, other in zip(networks, others, strict=True):
        network.load_state_dict(other.state_dict())
    losses, wanted = one_way(together, waves, tags), as_one(others, waves, tags)
    assert torch.equal(losses, wanted)
    for found, theirs in zip(learned(networks), learned(others), strict=True):
        assert all(torch.equal(found[name], it) for name, it in theirs.items())


@pytest.mark.filterwarnings("ignore:.*value encountered:RuntimeWarning")  # of the interpreter's arithmetic
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("lane", [0, 1, 2])
@pytest.mark.parametrize(("m", "padding"), [(2, "theano"), (2, "torch"), (3, "torch"), (5, "theano")])
def test_what_is_no_number_in_one_network_stays_there(
    m: int, padding: str, lane: int, value: float, on_processor: torch.device
) -> None:
    """In two blocks, of which the second reads the frames where the first lays them."""
    lanes, clips, channels, pools = 3, 2, 4, m * 2

    def both(of: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(m)
        frames, left = of.clone().requires_grad_(), same_pad(m, padding)[0]
        found, result = [frames], frames
        for _ in range(2):
            weight = torch.randn(lanes, channels, channels, m, requires_grad=True)
            scale, shift, bias = (torch.randn(lanes * channels, requires_grad=True) for _ in range(3))
            mean, variance = torch.zeros(lanes * channels), torch.ones(lanes * channels)
            batches = torch.zeros((), dtype=torch.long)
            norm = Norm(scale, shift, bias, mean, variance, batches, 1e-5, 0.1)
            result = filtered_block(result, weight, norm, left, m, next_block=(m, left))
            found += [weight, scale, shift]
            kept.extend([mean, variance])
        result.sin().sum().backward()
        by_lane = [it.grad.unflatten(0, (lanes, -1)) for it in found]
        return (result.detach().unflatten(0, (lanes, -1)), *by_lane)

    kept: list[Tensor] = []
    frames = torch.randn(lanes * clips, channels, m * pools)
    wanted = both(frames)
    sick = frames.clone()
    sick[lane * clips : (lane + 1) * clips] = value
    found = both(sick)
    statistics = [it.unflatten(0, (lanes, -1)) for it in kept]
    pairs = [*zip(found, wanted, strict=True), *zip(statistics[4:], statistics[:4], strict=True)]
    for one, other in pairs:
        for k in range(lanes):
            assert torch.equal(one[k], other[k]) == (k != lane)


def frozen() -> nn.Module:
    network = a_network(1)
    network.head.weight.requires_grad_(False)
    return network


def watched() -> nn.Module:
    network = a_network(1)
    network.top.norm.register_forward_hook(lambda *given: None)
    return network


def of_another_activation() -> nn.Module:
    network = a_network(1)
    network.top.activation = nn.LeakyReLU()
    return network


def of_another_momentum() -> nn.Module:
    network = a_network(1)
    network.top.norm.momentum = 0.5
    return network


@pytest.mark.parametrize(
    "other",
    [
        lambda: a_network(1, "samplecnn_m2_n3_s32"),
        lambda: a_network(1, filters="paper"),
        lambda: a_network(1).eval(),
        lambda: a_network(1).double(),
        lambda: a_network(1).replace_head(7).train(),
        frozen,
        watched,
        of_another_momentum,
        of_another_activation,
    ],
)
def test_a_network_that_is_not_like_the_others_is_not_stacked(
    other: Callable[[], nn.Module], on_processor: torch.device
) -> None:
    assert can_be_stacked([a_network(0), a_network(1)], 23)
    assert not can_be_stacked([a_network(0), other()], 23)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("samplecnn_m3_n3_s3", {}),  # frames that are made again from the waveform
        ("samplecnn_m3_n3_s81_w243", {}),  # filters over each other's samples
        ("samplecnn_se", {}),
        ("musicnn", {}),
    ],
)
def test_other_kinds_of_networks_are_not_stacked(
    name: str, options: dict[str, object], on_processor: torch.device
) -> None:
    assert not can_be_stacked([zoo.create(name).train() for _ in range(2)], 23)


def test_paddings_on_other_sides_are_no_one_kind(on_processor: torch.device) -> None:
    theano, other = (a_network(0, padding=it) for it in ("theano", "torch"))
    assert can_be_stacked([theano, theano], 23)
    assert not can_be_stacked([theano, other], 23)


def test_more_numbers_than_the_kernels_can_count_are_not_stacked(on_processor: torch.device) -> None:
    networks = [a_network(0)] * 2
    most = 2**31 // (2 * 2 * 8 * 256)
    assert can_be_stacked(networks, most - 1)
    assert not can_be_stacked(networks, most + 1)


def test_one_network_and_a_processor_are_not_stacked() -> None:
    assert not can_be_stacked([a_network(0), a_network(1)], 23)


def test_one_network_alone_is_not_stacked(on_processor: torch.device) -> None:
    assert not can_be_stacked([a_network(0)], 23)


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
        for module in (kernels, gradient_kernels, sample_kernels):
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
    noise = DrawnAhead(networks, [Chance(on_processor) for _ in networks])
    together = Stacked(networks, noise)
    one_way(together, waves, tags, "bf16")  # draws the first noise
    launches.count = 0
    with launches:
        one_way(together, waves, tags, "bf16")
    eight, launches.count = launches.count, 0
    networks[0].zero_grad()  # as after an optimizer's step
    with launches:
        each_alone(networks[:1], waves[:1], tags[:1], "bf16")
    print(f"{name}: {launches.count} launches of one, {eight} of eight as one, without optimizers")
    assert eight < 2 * launches.count
