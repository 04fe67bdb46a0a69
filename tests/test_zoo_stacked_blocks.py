"""A block of several networks, as one step on a GPU: each gets what its own block gives, and nothing of another's.

Without a GPU the kernels are run by Triton's interpreter on the processor (see conftest.py).
"""

from copy import deepcopy

import pytest
import torch
from kernels_without_gpu import distances
from torch import Tensor, nn

from zoo.fast.windows import Windows
from zoo.layers.tower import ConvBlock, same_pad

pytest.importorskip("triton", reason="Triton is not part of this torch")
from zoo.fast import fused_gpu
from zoo.fast.fused_gpu import Norm, filtered_block
from zoo.fast.lanes import Filters, form_of

SINGLE = 3e-6  # relative to the length of all values together


def filters_of(weight: Tensor, side_by_side: bool = False) -> tuple[Filters, Tensor]:
    """Of weights (lanes, channels out, channels in, length). Returns the view of their gradients as weights, too."""
    shape, seen = form_of(weight.shape[1:], side_by_side)
    values, gradient = torch.zeros(2, len(weight), *shape).unbind()
    seen(values).copy_(weight)
    return Filters(values, gradient, weight.shape[3]), seen(gradient)


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
    if most_programs == 1:
        monkeypatch.setattr("zoo.fast.lanes.FEWEST_ROWS", 1)  # gradients of filters in parts
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
    filters, to_weight = filters_of(given["conv.weight"].detach(), side_by_side=m == 1)
    output = filtered_block(frames, filters, norm, left if m > 1 else -1, m)
    (output * weights).sum().backward()
    given["conv.weight"].grad = to_weight
    for lane, theirs in enumerate(wanted):
        found = {name: it.grad[lane] for name, it in given.items()}
        found |= {"output": output.detach().chunk(lanes)[lane], "frames": frames.grad.chunk(lanes)[lane]}
        names = ("norm.running_mean", "norm.running_var")
        found |= {name: it.chunk(lanes)[lane] for name, it in zip(names, moved, strict=True)}
        far = distances(
            found, {name: it for name, it in theirs.items() if name != "norm.num_batches_tracked"}
        )
        assert {name: value for name, value in far.items() if value > SINGLE} == {}


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
        filters, to_weight = filters_of(torch.randn(2, 3, 3, 2))
        tensors = [torch.ones(6, requires_grad=i < 2) for i in range(5)]
        norm = Norm(*tensors, torch.zeros((), dtype=torch.long), 1e-5, 0.1)
        result = filtered_block(frames, filters, norm, 1, 2).transpose(1, 2)
        own = gradient.expand(4, 5, 3)
        result.backward(own if shared else own.contiguous())
        return to_weight

    frames, gradient = torch.randn(4, 3, 10), torch.randn(5, 3)
    assert torch.equal(to_weight(shared=True), to_weight(shared=False))


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
        found, weights, result = [frames], list[Tensor](), frames
        for _ in range(2):
            filters, to_weight = filters_of(torch.randn(lanes, channels, channels, m))
            scale, shift, bias = (torch.randn(lanes * channels, requires_grad=True) for _ in range(3))
            mean, variance = torch.zeros(lanes * channels), torch.ones(lanes * channels)
            batches = torch.zeros((), dtype=torch.long)
            norm = Norm(scale, shift, bias, mean, variance, batches, 1e-5, 0.1)
            result = filtered_block(result, filters, norm, left, m, next_block=(m, left))
            found += [scale, shift]
            weights.append(to_weight)
            kept.extend([mean, variance])
        result.sin().sum().backward()
        by_lane = [*weights, *(it.grad.unflatten(0, (lanes, -1)) for it in found)]
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
