"""Precisions on a processor: what can be had, and that nothing else changes."""

from dataclasses import replace

import pytest
import torch
from test_search_training import SMALL, a_fit, settings
from torch import nn

import zoo
from search.errors import SearchError
from search.settings import PRECISIONS, Training
from search.trials import precision as precisions
from search.trials.feed import open_feed
from search.trials.precision import check, computing, full, lay
from search.trials.training import Fit
from zoo.fast import products, together

CPU = torch.device("cpu")


def test_float32_leaves_a_processor_s_numbers_alone() -> None:
    with computing("float32", CPU) as forwards, forwards:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_bf16_takes_products_in_half_and_the_loss_in_full() -> None:
    with computing("bf16", CPU) as forwards:
        with forwards:
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == torch.bfloat16
        assert full(product).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32, "the way back is not cast"
    assert full(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("precision", "bf16"), [("tf32", True), ("bf16", False)])
def test_what_the_processor_cannot_do_is_refused(
    precision: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    with pytest.raises(SearchError) as refusal:
        check(Training(precision=precision), CPU)
    assert str(refusal.value) == (
        f"budget.precision={precision}: this processor has no instructions for it; take budget.precision=float32"
    )
    check(Training(), CPU)


def test_fewer_products_are_for_processors() -> None:
    wanted = Training(precision="winograd")
    check(wanted, CPU)
    with pytest.raises(SearchError) as refusal:
        check(wanted, torch.device("cuda"))
    assert str(refusal.value) == "budget.precision=winograd is for processors; on a GPU take tf32 or bf16"


@pytest.mark.usefixtures("demo")
def test_a_training_by_fewer_products_takes_them_forwards_and_back_in_every_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "FEWEST_FRAMES", 1)
    taken: list[str] = []
    for way in (products._Each, products._Fewer):
        back = way.back
        monkeypatch.setattr(
            way, "back", lambda *given, way=way, back=back: (taken.append(way.__name__), back(*given))[1]
        )
    losses, weights = {}, {}
    for precision in ("float32", "winograd"):
        fit = a_fit(replace(SMALL, precision=precision), segments=16)
        fit.micro_batch_size = 4
        losses[precision] = next(iter(fit)).train_loss
        weights[precision] = fit.network.body[0].conv.weight
        assert set(taken) == {"_Each" if precision == "float32" else "_Fewer"}
        taken.clear()
    assert losses["winograd"] == pytest.approx(losses["float32"], rel=1e-4)
    assert not torch.equal(weights["winograd"], weights["float32"]), "they round in another way"


@pytest.mark.usefixtures("demo")
def test_a_precision_is_part_of_the_signature() -> None:
    signatures = {settings(replace(SMALL, precision=word)).signature() for word in PRECISIONS}
    assert len(signatures) == len(PRECISIONS)


@pytest.mark.parametrize(("name", "lies_so"), [("crnn", True), ("musicnn", False)])
def test_images_lie_with_channels_beside_each_other_from_the_first_filters_on(
    name: str, lies_so: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "_is_for_gpu", lambda word, device: word != "float32")
    for word, wanted in (("float32", False), ("bf16", lies_so)):
        network = zoo.create(name).eval()
        lay(word, network)
        for layer in [it for it in network.modules() if isinstance(it, nn.Conv2d)]:
            given = layer(torch.rand(2, layer.in_channels, 70, 70))
            assert given.is_contiguous(memory_format=torch.channels_last) == wanted
            assert given.is_contiguous() != wanted


def test_high_filters_lie_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "_is_for_gpu", lambda word, device: True)
    network = nn.Sequential(nn.Conv2d(2, 2, (3, 3)), nn.Conv2d(2, 2, (4, 1)))
    lay("bf16", network)
    flags = [it.weight.is_contiguous(memory_format=torch.channels_last) for it in network]
    assert flags == [True, False]


@pytest.mark.usefixtures("demo")
def test_a_training_lays_its_images_so_and_goes_on_with_what_it_remembers_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precisions, "_is_for_gpu", lambda word, device: True)
    how = replace(SMALL, batch_size=2, epochs_per_stage=1, learning_rates=(0.001,))
    entry = zoo.entry("crnn").with_options(first=4, maps=4, units=4)
    train, valid = (open_feed("demo", split, None, entry) for split in ("train", "valid"))
    fits = [Fit(entry.build(20), train, valid, how, seed=1, segments=4) for _ in range(2)]
    list(fits[0])
    tensors, progress = fits[0].state()
    assert all(it.stride() == torch.empty(it.shape).stride() for it in tensors.values())
    fits[1].restore(tensors, progress)
    optimizer = fits[1].optimizer
    pairs = list(zip(optimizer.parameters, optimizer.slots["velocity"], strict=True))
    assert any(it.is_contiguous(memory_format=torch.channels_last) for it, _ in pairs if it.ndim == 4)
    assert all(it.stride() == velocity.stride() for it, velocity in pairs)


def test_on_a_processor_everything_lies_as_before() -> None:
    network = zoo.create("crnn")
    lay("bf16", network)
    assert all(it.stride() == torch.empty(it.shape).stride() for it in network.parameters())
