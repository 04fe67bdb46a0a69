"""The one-dimensional networks against the same computed in plain NumPy with the same weights."""

import numpy as np
import numpy_networks as plain
import pytest
import torch
from torch import nn

import zoo
from zoo.layers.blocks1d import ExcitedBlock, ResidualBlock, SqueezeExcitation
from zoo.layers.patches import MeanOfProbabilities
from zoo.layers.persistence import PersistenceLandscape
from zoo.layers.tower import ConvBlock, same_pad

CLOSE = 1e-5
LEVELS = np.arange(10) * 0.5


def scrambled(module, seed=0):
    """The module in evaluation, with no weight, bias or running statistic left at a round number."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        if getattr(layer, "bias", None) is not None:
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    return module.eval()


def weights_of(module):
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def frames_of(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def assert_alike(module, expected, frames):
    """Every example of a batch comes out as `expected` says of it alone."""
    with torch.no_grad():
        found = module(frames).numpy()
    wanted = np.stack([expected(example.double().numpy()) for example in frames])
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < CLOSE


def test_a_strided_convolution_without_padding():
    block = scrambled(ConvBlock(1, 6, 5, stride=5))
    weights = weights_of(block)
    assert_alike(block, lambda x: plain.conv_block(x, weights, stride=5), frames_of(3, 1, 47))


@pytest.mark.parametrize("first_pad", ["zero", "context"])
def test_a_window_longer_than_the_stride(first_pad):
    network = zoo.create("samplecnn_m3_n3_s9_w27", first=5, first_pad=first_pad)
    front = scrambled(network.front)
    zeros = (9, 9) if first_pad == "zero" else (0, 0)
    weights = weights_of(front)
    assert_alike(
        front,
        lambda x: plain.conv_block(x, weights, stride=9, zeros=zeros),
        frames_of(2, 1, network.input_samples),
    )


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("padding", ["theano", "torch"])
def test_even_filters_with_either_padding(m, padding):
    zeros = {"theano": (m // 2, m // 2 - 1), "torch": (m // 2 - 1, m // 2)}[padding]
    block = scrambled(ConvBlock(3, 4, m, pad=same_pad(m, padding), pool=m))
    weights = weights_of(block)
    assert_alike(block, lambda x: plain.conv_block(x, weights, pool=m, zeros=zeros), frames_of(2, 3, m**3))


def test_a_block_of_convolution_norm_relu_and_pooling():
    block = scrambled(ConvBlock(4, 6, 3, pad=(1, 1), pool=3))
    weights = weights_of(block)
    assert_alike(block, lambda x: plain.conv_block(x, weights, pool=3, zeros=(1, 1)), frames_of(2, 4, 29))


def test_squeeze_and_excitation():
    layer = scrambled(SqueezeExcitation(5, 3))
    weights = weights_of(layer)
    assert_alike(layer, lambda x: plain.excitation(x, weights), frames_of(2, 5, 7))


def test_a_block_is_excited_after_its_pooling():
    block = scrambled(ExcitedBlock(3, 5, 2))
    weights = weights_of(block)

    def expected(x):
        pooled = plain.conv_block(x, weights, pool=3, zeros=(1, 1))
        return plain.excitation(pooled, plain.part(weights, "excitation"))

    assert_alike(block, expected, frames_of(2, 3, 12))


@pytest.mark.parametrize("channels_in", [4, 6])
def test_a_residual_block_with_and_without_projection(channels_in):
    block = scrambled(ResidualBlock(channels_in, 6, convolutions=2, ratio=4, dropout=0.2))
    assert ("shortcut.conv.weight" in block.state_dict()) == (channels_in != 6)
    weights = weights_of(block)
    assert_alike(block, lambda x: plain.residual_block(x, weights, 1e-5), frames_of(2, channels_in, 15))


def test_blocks_in_their_network_use_its_epsilon():
    network = zoo.create("samplecnn_rese2_multi")
    block = scrambled(network.body[2])
    weights = weights_of(block)
    assert_alike(block, lambda x: plain.residual_block(x, weights, 1e-3), frames_of(1, 128, 6))


def test_persistence_landscapes():
    layer = PersistenceLandscape(8, functions=5, points=10, step=0.5)
    frames = frames_of(2, 3, 27).mul(2).relu()
    assert_alike(layer, lambda x: plain.landscapes(x, 8, 5, LEVELS), frames)


def test_the_whole_of_3_3():
    network = scrambled(zoo.create("samplecnn_m3_n3_s9"))
    weights = weights_of(network)
    assert_alike(network, lambda x: plain.samplecnn(x, weights, 3, 9), frames_of(2, 243))


def test_the_whole_raw_network_of_dieleman():
    network = scrambled(zoo.create("dieleman_raw"))
    weights = weights_of(network)
    assert_alike(network, lambda x: plain.dieleman_raw(x, weights), frames_of(1, 48000))


@pytest.mark.parametrize("scale", [1, 5])
def test_the_readout_is_the_logit_of_the_mean_probability(scale):
    def expected(x):
        mean = plain.sigmoid(x).mean(axis=0)
        return np.log(mean / (1 - mean))

    assert_alike(MeanOfProbabilities(), expected, frames_of(3, 7, 4) * scale)


def test_everything_behind_the_spectrogram_of_the_persistent_cnn():
    network = scrambled(zoo.create("persistent_cnn", filters=4, hidden=8))
    weights = weights_of(network)
    wave = frames_of(1, network.input_samples) * 0.1

    def tail(frames):
        first, beside = plain.part(weights, "body.conv"), plain.part(weights, "patches.convolution.conv")
        # The inner convolutions are as products of matrices here: the loops are for small ones.
        frames = np.pad(frames, ((0, 0), (4, 3)))
        windows = np.lib.stride_tricks.sliding_window_view(frames, 8, axis=1)
        frames = plain.relu(np.einsum("itk,oik->ot", windows, first["weight"]) + first["bias"][:, None])
        frames = plain.max_pool(frames, 4, keep_end=True)
        maxima = plain.relu(beside["weight"][:, :, 0] @ frames + beside["bias"][:, None])
        maxima = plain.max_pool(maxima, 32, keep_end=True)
        both = np.concatenate([maxima[:, :7], plain.landscapes(frames, 32, 5, LEVELS)])
        for i in (1, 2):
            layer = plain.part(weights, f"top.{i}.conv")
            both = plain.relu(layer["weight"][:, :, 0] @ both + layer["bias"][:, None])
        logits = weights["head.weight"] @ both + weights["head.bias"][:, None]
        mean = plain.sigmoid(logits).mean(axis=1)
        return np.log(mean / (1 - mean))

    with torch.no_grad():
        found = network(wave)[0].numpy()
        frames = network.front(wave.unsqueeze(1))[0].double().numpy()
    assert frames.shape == (128, 911)
    assert np.abs(found - tail(frames)).max() < CLOSE
