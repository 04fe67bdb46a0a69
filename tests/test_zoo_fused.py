"""A block in training on the processor, as one step, against its layers one after the other."""

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import zoo
from zoo.fast import matrices, strided, together, winograd
from zoo.fast.windows import Windows
from zoo.layers.tower import ConvBlock, same_pad

EXACT = 1e-10


def block_of(m: int, padding: str = "theano", stride: int = 1) -> ConvBlock:
    """With scales of both signs and one of zero; strided like a first layer, or pooling what it filters."""
    torch.manual_seed(m)
    pads = (0, 0) if stride > 1 else same_pad(m, padding)
    channels = 1 if stride > 1 else 3
    block = ConvBlock(channels, 7, m, stride=stride, pad=pads, pool=1 if stride > 1 else m)
    with torch.no_grad():
        block.norm.weight.copy_(torch.randn(7))
        block.norm.weight[2] = 0
        block.norm.bias.copy_(torch.randn(7))
    return block.double()


def trained(block: ConvBlock, frames: Tensor, one_by_one: bool) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one step in training."""
    block = deepcopy(block)
    frames = frames.clone().requires_grad_(block.conv.in_channels > 1)
    if one_by_one:
        block.conv.register_forward_hook(lambda *given: None)
    output = block.train()(frames)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    (output * weights.sin()).sum().backward()
    found = {"output": output.detach(), **dict(block.named_buffers())}
    # The gradient of the convolution's bias is nothing but rounding there, and zero here.
    assert one_by_one or not block.conv.bias.grad.any()
    found |= {name: each.grad for name, each in block.named_parameters() if name != "conv.bias"}
    return found | ({"frames": frames.grad} if frames.requires_grad else {})


def distance(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest value where that is not next to nothing."""
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(1e-3))


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "FEWEST_FRAMES", 1)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which blocks were computed as one step."""
    taken: list[str] = []
    for name in ("pooled_block", "strided_block", "strided_convolution"):
        real = getattr(together, name)
        monkeypatch.setattr(
            together, name, lambda *given, n=name, real=real: (taken.append(n), real(*given))[1]
        )
    return taken


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["theano", "torch"])
@pytest.mark.parametrize("clips", [1, 2, 3])
def test_one_step_is_its_layers_in_value_gradients_and_statistics(
    m: int, padding: str, clips: int, steps: list[str]
) -> None:
    for pools in (1, m, 7):
        block = block_of(m, padding)
        frames = torch.randn(clips, 3, m * pools, dtype=torch.float64)
        found, wanted = (trained(block, frames, one_by_one) for one_by_one in (False, True))
        assert steps == ["pooled_block"]
        steps.clear()
        assert {name: distance(found[name], wanted[name]) < EXACT for name in wanted} == dict.fromkeys(
            wanted, True
        )


@pytest.mark.parametrize("length", [2, 3, 16])
@pytest.mark.parametrize("clips", [1, 3])
def test_a_first_layer_is_its_layers_in_value_gradients_and_statistics(
    length: int, clips: int, steps: list[str]
) -> None:
    block = block_of(length, stride=length)
    block.next_block = (3, 1)
    wave = torch.randn(clips, 1, length * 11 + 1, dtype=torch.float64)
    before = wave.clone()
    found, wanted = (trained(block, wave, one_by_one) for one_by_one in (False, True))
    assert steps == ["strided_block"]
    assert torch.equal(wave, before)
    assert all(distance(found[name], wanted[name]) < EXACT for name in wanted)


def test_a_first_layer_before_layers_of_torch_is_one_of_them(steps: list[str]) -> None:
    block = block_of(3, stride=3)
    assert block.next_block == (1, 0)
    block.train()(torch.randn(2, 1, 30, dtype=torch.float64))
    assert steps == []


@pytest.mark.parametrize(
    ("name", "taken"),
    [("samplecnn_se", ["strided_block"]), ("samplecnn_basic", ["strided_block"]), ("samplecnn_rese2", [])],
)
def test_first_layers_are_one_step_where_the_block_behind_is(
    name: str, taken: list[str], steps: list[str]
) -> None:
    zoo.create(name).train().front(torch.rand(2, 1, 270))
    assert steps == taken


@pytest.mark.parametrize("frames", [11, 40], ids=["by a product", "by torch's convolution"])
@pytest.mark.parametrize("clips", [1, 3])
def test_a_first_layer_of_long_filters_is_its_layers(
    clips: int, frames: int, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    convolved, real = [], strided.conv1d
    monkeypatch.setattr(
        strided, "conv1d", lambda *given, **more: (convolved.append(1), real(*given, **more))[1]
    )
    block = block_of(50, stride=50)
    wave = torch.randn(clips, 1, 50 * frames + 7, dtype=torch.float64)
    before = wave.clone()
    found, wanted = (trained(block, wave, one_by_one) for one_by_one in (False, True))
    assert steps == ["strided_convolution"]
    assert len(convolved) == (2 * frames >= 50)
    assert torch.equal(wave, before)
    assert all(distance(found[name], wanted[name]) < EXACT for name in wanted)


def test_many_pieces_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randn(3, 3, 3 * 100, dtype=torch.float64)
    whole = trained(block_of(3), frames, one_by_one=False)
    monkeypatch.setattr("zoo.fast.windows.PIECE_FLOATS", 1)  # 64 rows each, which is no whole number of clips
    parts = trained(block_of(3), frames, one_by_one=False)
    assert all(distance(parts[name], whole[name]) < EXACT for name in whole)


@pytest.mark.parametrize(
    ("clips", "pools", "sizes"),
    [
        (3, 100, [50, 51] * 3),  # of one clip each, and alike; the row behind a clip goes with its last
        (3, 64, [65] * 3),
        (2, 193, [49, 49, 49, 47] * 2),
        (5, 31, [64, 64, 32]),  # clips with their rows behind them
        (1, 1, [2]),
    ],
)
def test_pieces_are_every_row_once(
    clips: int, pools: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.fast.windows.PIECE_FLOATS", 1)  # so 64 rows at most
    windows = Windows.of(torch.ones(clips, 1, 2 * pools), 2, 1)
    found = list(windows.pieces(7))
    assert [piece.rows.stop - piece.rows.start for piece in found] == sizes
    rows = torch.arange(clips * (pools + 1)).view(-1, 1)
    assert torch.equal(torch.cat([rows[piece.rows] for piece in found]), rows)
    by_clips = rows.view(clips, -1, 1)
    for piece in found:
        assert torch.equal(piece.inner(rows[piece.rows]), by_clips[piece.clips, piece.pools])
    between = torch.cat([piece.between(rows[piece.rows]).flatten() for piece in found])
    assert torch.equal(between, by_clips[:, -1].flatten())


def test_of_equal_frames_the_first_gets_the_gradient() -> None:
    block = block_of(3)
    frames = torch.zeros(2, 3, 27, dtype=torch.float64)
    found, wanted = (trained(block, frames, one_by_one) for one_by_one in (False, True))
    assert all(distance(found[name], wanted[name]) < EXACT for name in wanted)
    assert distance(found["frames"], wanted["frames"]) < EXACT


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("library", ["MKL", "oneDNN"])
def test_in_float32_gradients_are_as_near_to_float64_as_those_of_the_layers(
    m: int, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrices, "_is_quicker", lambda: library == "oneDNN")
    torch.manual_seed(1)
    exact = ConvBlock(64, 64, m, pad=same_pad(m, "theano"), pool=m).double()
    frames = torch.randn(4, 64, m**5, dtype=torch.float64).relu()
    wanted = trained(exact, frames, one_by_one=True)
    ours, theirs = (trained(deepcopy(exact).float(), frames.float(), way) for way in (False, True))
    for name in ("output", "frames", "conv.weight", "norm.weight", "norm.bias", "running_var"):
        key = name if name in wanted else f"norm.{name}"
        assert distance(ours[key], wanted[key]) < 1.5 * distance(theirs[key], wanted[key]) + 1e-6, name


def test_a_frozen_convolution_and_a_second_backward_are_no_trouble() -> None:
    block = block_of(3)
    frames = torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True)
    output = block(frames)
    first, second = (torch.autograd.grad(output.sum(), frames, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    for parameter in block.conv.parameters():
        parameter.requires_grad_(False)
    block(frames).sum().backward()
    assert block.conv.weight.grad is None
    assert block.norm.weight.grad is not None


def test_layers_run_one_by_one_where_someone_looks_or_nothing_is_trained(steps: list[str]) -> None:
    block, frames = block_of(3).float(), torch.randn(2, 3, 27)
    block.eval()(frames)
    block.train()(torch.randn(2, 3, 28))  # pools do not divide the frames
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(frames)
    hook = block.activation.register_forward_hook(lambda *given: None)
    block(frames)
    hook.remove()
    assert steps == []
    block(frames)
    assert steps == ["pooled_block"]


@pytest.mark.parametrize(("frames", "steps_taken"), [(2046, 0), (2049, 1)])
def test_few_frames_run_layer_by_layer(
    frames: int, steps_taken: int, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "FEWEST_FRAMES", 2048)
    block_of(3).float().train()(torch.randn(1, 3, frames))
    assert len(steps) == steps_taken


def test_a_pool_longer_than_the_frames_is_refused_by_torch_as_before() -> None:
    with pytest.raises(RuntimeError, match=r"max_pool1d.*size|Output size"):
        block_of(5).train()(torch.randn(1, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "together_blocks"),
    [("samplecnn_m3_n3_s9", 4), ("samplecnn_m2_n4_s8", 5), ("melcnn_m3_n3_s27_w81", 3), ("crnn", 0)],
)
def test_every_block_of_the_m_n_networks_is_trained_in_one_step(
    name: str, together_blocks: int, steps: list[str]
) -> None:
    if name == "crnn":
        network: nn.Module = zoo.create(name, n_tags=2, first=2, maps=2, units=2)
    else:
        network = zoo.create(name, n_tags=2)
    network.train()(torch.rand(2, network.input_samples)).sum().backward()
    assert len(steps) == together_blocks
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames there were in each copy that a block has made of what it was given."""
    made: list[int] = []
    real = Windows.of
    monkeypatch.setattr(
        Windows, "of", lambda frames, *given: (made.append(frames.shape[2]), real(frames, *given))[1]
    )
    return made


@pytest.mark.parametrize("name", ["samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "samplecnn_m4_n3_s4"])
def test_what_a_block_gives_lies_where_the_next_one_wants_it(name: str, copies: list[int]) -> None:
    network = zoo.create(name, n_tags=2).train()
    network(torch.rand(2, network.input_samples)).sum().backward()
    assert copies == []


def two_blocks() -> nn.Sequential:
    """As `block_of`, of which the second takes what the first one gives."""
    torch.manual_seed(0)
    blocks = nn.Sequential(*(ConvBlock(channels, 5, 3, pad=(1, 1), pool=3) for channels in (4, 5)))
    return blocks.double().train()


@pytest.mark.parametrize("change", ["none", "halved", "one clip", "some frames", "some channels"])
def test_what_happens_between_two_blocks_happens_to_the_second_one(change: str, copies: list[int]) -> None:
    first, second = two_blocks()
    if change == "some channels":
        second = ConvBlock(4, 5, 3, pad=(1, 1), pool=3).double().train()

    def between(frames: Tensor) -> Tensor:
        match change:
            case "halved":
                return frames * 0.5
            case "one clip":
                return frames[1:2]
            case "some frames":
                return frames[:, :, 3:]
            case "some channels":
                return frames[:, :4]
        return frames

    def taken(one_by_one: bool) -> list[Tensor]:
        pair = deepcopy((first, second))
        for block in pair:
            if one_by_one:
                block.conv.register_forward_hook(lambda *given: None)
        middle = between(pair[0](frames))
        loss = pair[1](middle).square().sum() + middle.sin().sum()  # the second one is not alone to use it
        loss.backward()
        return [
            each.grad for block in pair for each in (block.conv.weight, block.norm.weight, block.norm.bias)
        ]

    frames = torch.randn(3, 4, 27, dtype=torch.float64)
    ours, wanted = taken(one_by_one=False), taken(one_by_one=True)
    assert all(distance(found, other) < EXACT for found, other in zip(ours, wanted, strict=True))
    assert (len(copies) == 2) == (change != "none")


def test_frames_with_something_around_them_are_copied() -> None:
    """As the gradient of a block is, which lies in windows, too."""
    room = Windows.room((2, 9, 4), (3, 1), torch.ones(1)).fill_(1).transpose(1, 2)
    assert Windows.lying_in(room, 3, 1) is not None
    assert Windows.lying_in(room, 3, 2) is None
    for place in (0, -1, 12 * 4 - 1):
        around = room.as_strided((room.untyped_storage().nbytes() // 4,), (1,), 0)
        around[place] = 5
        assert Windows.lying_in(room, 3, 1) is None
        assert not Windows.of(room, 3, 1).inner(10, 12).any()
        around[place] = 0
    assert Windows.lying_in(room, 3, 1) is not None


def test_what_is_changed_after_a_block_has_taken_it_is_told_by_torch() -> None:
    first, second = two_blocks()
    middle = first(torch.randn(3, 4, 27, dtype=torch.float64))
    output = second(middle)
    with torch.no_grad():
        middle.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("fewer", [False, True])
@pytest.mark.parametrize(
    "held", ["", "by name", "in a view", "by another operation", "by a graph that is kept"]
)
def test_a_gradient_is_laid_over_frames_that_nobody_else_holds(held: str, fewer: bool) -> None:
    first, second = two_blocks()
    places = []

    def gradient(frames: Tensor, one_by_one: bool) -> Tensor:
        pair = deepcopy((first, second))
        for block in pair if one_by_one else ():
            block.conv.register_forward_hook(lambda *given: None)
        middle = pair[0](frames)
        place = middle.data_ptr()
        middle.grad_fn.register_prehook(lambda given: places.append(given[0].data_ptr() == place))
        packs = held == "by whoever packs what is saved"
        with (
            saved_tensors_hooks(lambda it: it.detach().numpy(), torch.from_numpy) if packs else nullcontext()
        ):
            other = middle.sin().sum() if packs or held == "by another operation" else 0
            with winograd.wanted(fewer):
                loss = pair[1](middle).sin().sum() + other
        kept = middle if held == "by name" else middle.detach()[1:] if held == "in a view" else None
        before = None if kept is None else kept.clone()
        del middle
        for again in range(2 if held == "by a graph that is kept" else 1):
            loss.backward(retain_graph=held == "by a graph that is kept" and not again)
        assert kept is None or torch.equal(kept, before)
        return pair[0].conv.weight.grad

    frames = torch.randn(3, 4, 27, dtype=torch.float64)
    assert distance(gradient(frames, one_by_one=False), gradient(frames, one_by_one=True)) < EXACT
    # The second time that a graph which was kept is gone back, it is not kept any more
    assert places[0] == (held == "")


def test_a_copy_of_the_frames_that_another_holds_is_left_as_it_is() -> None:
    _, second = two_blocks()
    output = second(torch.randn(3, 5, 27, dtype=torch.float64, requires_grad=True))
    held = output.grad_fn.saved_tensors[0].detach()
    before = held.clone()
    output.sum().backward()
    assert torch.equal(held, before)
