"""Persistence landscapes against union-find and sorted tents in plain Python; their gradients, ties and export."""

import warnings

import numpy_networks as plain
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers.patches import MeanOfProbabilities
from zoo.layers.persistence import PersistenceLandscape, births_and_deaths

LEVELS = [0.5 * i for i in range(10)]
RISING = [float(i) for i in range(32)]
SEQUENCES = {
    "rising": RISING,
    "falling": RISING[::-1],
    "constant": [1.5] * 32,
    "zeros after ReLU": [0.0] * 32,
    "sawtooth of equal peaks and dips": [3.0, 1.0] * 16,
    "plateaus": [0.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 0.0] * 4,
    "nested peaks": [4.0, 3.0, 3.5, 1.0, 4.5, 0.5, 2.0, 2.5] * 4,
    "one peak among zeros": [0.0] * 20 + [2.2] + [0.0] * 11,
    "one element": [2.0],
    "two equal elements": [2.0, 2.0],
}
tied = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=40)
any_values = st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=40)


def pairs(sequence):
    births, deaths = births_and_deaths(torch.tensor(sequence))
    return sorted(zip(births.tolist(), deaths.tolist(), strict=True))


def landscape(sequence, functions=5):
    layer = PersistenceLandscape(len(sequence), min(functions, len(sequence)), 10, 0.5)
    return layer.landscapes(torch.tensor(sequence, dtype=torch.float64)).T


def check(sequence):
    rounded = torch.tensor(sequence).tolist()  # as float32 has them
    assert pairs(sequence) == plain.persistence_pairs(rounded)
    found = landscape(rounded)
    wanted = torch.from_numpy(plain.landscape(rounded, len(found), LEVELS))
    assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_landscapes_of_shapes_with_ties_equal_the_plain_ones(sequence):
    check(sequence)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(tied, any_values))
def test_landscapes_of_any_sequence_equal_the_plain_ones(sequence):
    check(sequence)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(-3, 3, width=32), min_size=32, max_size=32))
def test_landscapes_of_what_a_relu_lets_through_equal_the_plain_ones(values):
    check([max(0.0, value) for value in values])


def test_the_peaks_of_a_small_range_are_those_that_one_draws():
    # Peaks 3, 2 and 4; 3 and 2 meet at 1, so 2 ends there; 3 meets 4 at 0.5; 4 is swallowed by nothing.
    lasting = [pair for pair in pairs([3.0, 1.0, 2.0, 0.5, 4.0, 0.0]) if pair[0] > pair[1]]
    assert lasting == [(2.0, 1.0), (3.0, 0.5), (4.0, 0.0)]


def test_the_first_function_is_the_tent_of_maximum_and_minimum():
    sequence = torch.rand(32, generator=torch.Generator().manual_seed(0)).mul(5).tolist()
    tent = [max(0.0, min(max(sequence) - level, level - min(sequence))) for level in LEVELS]
    assert landscape(sequence)[0].tolist() == pytest.approx(tent, abs=1e-6)


def test_channels_change_slowest_and_levels_fastest():
    frames = torch.rand(2, 3, 70, generator=torch.Generator().manual_seed(0)) * 4
    layer = PersistenceLandscape(32, functions=2, points=10, step=0.5)
    found = layer(frames)
    assert found.shape == (2, 3 * 2 * 10, 2)  # the six frames at the end fill no patch
    for channel in range(3):
        alone = layer.landscapes(frames[1, channel, 32:64]).T
        assert torch.equal(found[1, 20 * channel : 20 * (channel + 1), 1], alone.flatten())


def test_the_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(3)
    frames = (torch.randn(1, 2, 16, generator=generator, dtype=torch.float64) * 2).requires_grad_()
    layer = PersistenceLandscape(8, functions=3, points=10, step=0.37)
    assert torch.autograd.gradcheck(layer, (frames,), eps=1e-7, atol=1e-5)


def test_the_gradient_goes_to_peaks_and_dips_alone():
    sequence = torch.tensor([3.0, 1.0, 2.0, 0.4, 4.0, 0.3, 0.2]).requires_grad_()
    PersistenceLandscape(7, functions=3, points=10, step=0.5).landscapes(sequence).sum().backward()
    moved = {i for i, slope in enumerate(sequence.grad.tolist()) if slope}
    assert moved == {0, 1, 2, 3, 4, 6}


def test_ties_have_one_answer_and_one_gradient():
    def gradient():
        frames = torch.tensor(SEQUENCES["plateaus"]).requires_grad_()
        PersistenceLandscape(32, functions=5, points=10, step=0.4).landscapes(frames).sum().backward()
        return frames.grad

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(3))
    assert torch.isfinite(first).all()
    silent = torch.zeros(32, requires_grad=True)
    PersistenceLandscape(32, functions=5, points=10, step=0.5).landscapes(silent).sum().backward()
    assert not silent.grad.any()


def test_of_equal_peaks_the_earlier_lives_on():
    births, deaths = births_and_deaths(torch.tensor([2.0, 1.0, 2.0, 0.0]))
    assert list(zip(births.tolist(), deaths.tolist(), strict=True))[::2] == [(2.0, 0.0), (2.0, 1.0)]


def test_an_exported_layer_gives_the_same_for_any_batch(tmp_path):
    layer = PersistenceLandscape(32, functions=5, points=10, step=0.5).eval()
    frames = torch.randint(0, 9, (5, 3, 70), generator=torch.Generator().manual_seed(0)) / 2  # many ties
    exported = torch.export.export(layer, (frames[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(exported, dynamo=True, verbose=False).save(tmp_path / "layer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: frames.numpy()})
    assert torch.allclose(torch.from_numpy(found), layer(frames), atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 30.0, 1e4, 1e30])
def test_logits_of_any_size_have_a_finite_mean_and_gradient(size):
    for logits in (torch.full((2, 7, 3), -size), torch.full((2, 7, 3), size), torch.randn(2, 7, 3) * size):
        logits.requires_grad_()
        mean = MeanOfProbabilities()(logits)
        assert torch.isfinite(mean).all()
        mean.sum().backward()
        assert torch.isfinite(logits.grad).all()
    equal = torch.full((1, 7, 1), -size)
    assert MeanOfProbabilities()(equal).item() == pytest.approx(-size, rel=1e-6, abs=1e-6)


def test_the_mean_of_very_small_probabilities_still_learns():
    logits = torch.full((1, 7, 1), -200.0, requires_grad=True)
    MeanOfProbabilities()(logits).sum().backward()
    assert logits.grad.flatten().tolist() == pytest.approx([1 / 7] * 7, rel=1e-4)
