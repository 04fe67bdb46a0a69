"""Fewer products: the same function to the last digit of float64, and near it in float32."""

import threading
from copy import deepcopy
from fractions import Fraction

import pytest
import torch
from test_zoo_fused import EXACT, block_of, distance, trained
from torch import Tensor

import zoo
from zoo.fast import matrices, together, winograd
from zoo.layers.tower import ConvBlock, same_pad


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "FEWEST_FRAMES", 1)


def trained_with_fewer(block: ConvBlock, frames: Tensor) -> dict[str, Tensor]:
    with winograd.wanted():
        return trained(block, frames, one_by_one=False)


@pytest.mark.parametrize(("m", "n_products"), [(2, 3), (3, 5), (4, 9), (5, 14)])
def test_an_algorithm_is_exact_in_fractions(m: int, n_products: int) -> None:
    by = winograd.algorithm(m)
    assert by is not None
    assert by.products == n_products
    frames, taps = ([Fraction(7 * i % 11 - 4, 3) for i in range(n)] for n in (2 * m - 1, m))

    def dot(row: tuple[float, ...], values: list[Fraction]) -> Fraction:
        return sum(
            (Fraction(x).limit_denominator(6) * value for x, value in zip(row, values, strict=True)),
            Fraction(0),
        )

    factors = [dot(x, frames) * dot(y, taps) for x, y in zip(by.frames, by.taps, strict=True)]
    wanted = [sum(frames[j + i] * tap for i, tap in enumerate(taps)) for j in range(m)]
    assert [dot(row, factors) for row in by.outputs] == wanted


@pytest.mark.parametrize("m", [1, 6, 9])
def test_for_other_pools_there_is_none(m: int) -> None:
    assert winograd.algorithm(m) is None


@pytest.mark.parametrize("m", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("padding", ["theano", "torch"])
@pytest.mark.parametrize("clips", [1, 3])
def test_fewer_products_are_the_layers_in_value_gradients_and_statistics(
    m: int, padding: str, clips: int
) -> None:
    for pools in (1, 7, m):
        block = block_of(m, padding)
        frames = torch.randn(clips, 3, m * pools, dtype=torch.float64)
        found, wanted = trained_with_fewer(block, frames), trained(block, frames, one_by_one=True)
        assert {name: distance(found[name], wanted[name]) < EXACT for name in wanted} == dict.fromkeys(
            wanted, True
        )


def test_many_pieces_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randn(3, 3, 3 * 100, dtype=torch.float64)
    whole = trained_with_fewer(block_of(3), frames)
    monkeypatch.setattr("zoo.fast.windows.PIECE_FLOATS", 1)  # 64 rows each, which is no whole number of clips
    parts = trained_with_fewer(block_of(3), frames)
    assert all(distance(parts[name], whole[name]) < EXACT for name in whole)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("library", ["MKL", "oneDNN"])
def test_in_float32_it_rounds_at_most_five_times_as_much_as_the_layers(
    m: int, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrices, "_is_quicker", lambda: library == "oneDNN")
    torch.manual_seed(1)
    exact = ConvBlock(64, 64, m, pad=same_pad(m, "theano"), pool=m).double()
    frames = torch.randn(4, 64, m**5 if m < 4 else m**4, dtype=torch.float64).relu()
    wanted = trained(exact, frames, one_by_one=True)
    ours = trained_with_fewer(deepcopy(exact).float(), frames.float())
    theirs = trained(deepcopy(exact).float(), frames.float(), one_by_one=True)
    for name, value in wanted.items():
        assert distance(ours[name], value) < 5 * distance(theirs[name], value) + 1e-6, name


@pytest.mark.parametrize("name", ["samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "samplecnn_m5_n3_s25"])
def test_a_network_learns_the_same(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.create(name, n_tags=3, dropout=0.0).double().train()
    waves = torch.rand(8, network.input_samples, dtype=torch.float64) - 0.5
    gradients = []
    for fewer in (False, True):
        with winograd.wanted(fewer):
            loss = network(waves).square().sum()
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))  # the way back is outside
    assert all(distance(*pair) < EXACT for pair in zip(*gradients, strict=True))


def test_it_is_wanted_inside_only_and_in_this_thread_only() -> None:
    seen = []
    twice = winograd.wanted()
    for _ in range(2):
        with twice:
            thread = threading.Thread(target=lambda: seen.append(winograd.is_wanted()))
            thread.start()
            thread.join()
            seen.append(winograd.is_wanted())
            with winograd.wanted(False):
                seen.append(winograd.is_wanted())
            seen.append(winograd.is_wanted())
        seen.append(winograd.is_wanted())
    assert seen == [False, True, False, True, False] * 2
