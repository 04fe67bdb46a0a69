"""Every kind of block that reads spectrograms, against the same arithmetic in plain NumPy, in double precision."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from zoo.layers.attention import AttentionTop, Pooler, SelfAttention, TransformerLayer, class_token
from zoo.layers.blocks1d import DenseBlock
from zoo.layers.blocks2d import ConvBlock2d, FrameNorm, GlobalMax, ResidualBlock, choi_mel, won_mel
from zoo.layers.harmonic import HarmonicFilters, HarmonicFront, band_centres
from zoo.layers.pons import DenselyConnected, Filters, Horizontal, MaxAndMean, Vertical
from zoo.layers.receptive import frames_seen
from zoo.layers.recurrent import GruLayer, GruTop

TOLERANCE = 1e-5


def settled(block):
    """The block in evaluation and double precision, every weight and running statistic drawn at random."""
    torch.manual_seed(0)
    for name, tensor in block.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point() and name != "token":
            tensor.normal_(0, 0.5)
    return block.double().eval()


def given(block, *shape):
    """A random input of this shape, and what the block makes of it, as arrays."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return values.numpy(), block(values).numpy()


def weights_of(block):
    return {name: tensor.numpy() for name, tensor in block.state_dict().items()}


def agree(got, expected):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < TOLERANCE


def conv2d(image, weight, bias, stride=(1, 1), pad=(0, 0)):
    image = np.pad(image, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(image, weight.shape[2:], axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1]]
    return np.einsum("bcxyij,ocij->boxy", windows, weight) + bias[:, None, None]


def conv1d(frames, weight, bias, pad):
    return conv2d(frames[:, :, None], weight[:, :, None], bias, pad=(0, pad))[:, :, 0]


def norm(values, weights, name, axis=1):
    shape = [1] * values.ndim
    shape[axis] = -1
    mean, var, scale, shift = (
        weights[f"{name}.{key}"].reshape(shape) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (values - mean) / np.sqrt(var + 1e-5) * scale + shift


def relu(values):
    return np.maximum(values, 0)


def max_pool(image, rows, columns):
    batch, channels, high, wide = image.shape
    image = image[:, :, : high // rows * rows, : wide // columns * columns]
    return image.reshape(batch, channels, high // rows, rows, wide // columns, columns).max(axis=(3, 5))


def linear(values, weights, name):
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def convolved(image, weights, name, stride=(1, 1), pad=(1, 1)):
    return conv2d(image, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, pad)


def test_a_convolution_block_is_convolution_norm_relu_and_pooling():
    block = settled(ConvBlock2d(3, 5, pool=(2, 3)))
    image, got = given(block, 2, 3, 6, 11)
    weights = weights_of(block)
    agree(got, max_pool(relu(norm(convolved(image, weights, "conv"), weights, "norm")), 2, 3))


def test_an_elu_block_drops_nothing_in_evaluation():
    block = settled(ConvBlock2d(2, 4, pool=(2, 2), activation="elu", dropout=0.5))
    image, got = given(block, 2, 2, 4, 8)
    weights = weights_of(block)
    inner = norm(convolved(image, weights, "conv"), weights, "norm")
    agree(got, max_pool(np.where(inner > 0, inner, np.expm1(inner)), 2, 2))


def test_a_block_of_points_mixes_channels_alone():
    block = settled(ConvBlock2d(4, 3, kernel=1))
    image, got = given(block, 2, 4, 3, 5)
    weights = weights_of(block)
    mixed = np.einsum("oc,bcxy->boxy", weights["conv.weight"][:, :, 0, 0], image)
    agree(got, relu(norm(mixed + weights["conv.bias"][:, None, None], weights, "norm")))


@pytest.mark.parametrize(
    ("channels", "stride", "pool"),
    [((1, 4), (2, 2), (1, 1)), ((3, 3), (2, 1), (1, 1)), ((3, 3), (1, 1), (2, 3)), ((2, 3), (1, 1), (1, 1))],
)
def test_a_residual_block_adds_what_goes_past_it(channels, stride, pool):
    block = settled(ResidualBlock(*channels, stride=stride, pool=pool))
    image, got = given(block, 2, channels[0], 6, 9)
    weights = weights_of(block)
    inner = relu(norm(convolved(image, weights, "conv_1", stride), weights, "norm_1"))
    inner = norm(convolved(inner, weights, "conv_2"), weights, "norm_2")
    past = image
    if "shortcut.conv.weight" in weights:
        past = norm(convolved(image, weights, "shortcut.conv", stride), weights, "shortcut.norm")
    assert isinstance(block.shortcut, nn.Identity) == (stride == (1, 1) and channels[0] == channels[1])
    agree(got, max_pool(relu(past + inner), *pool))


def test_a_norm_of_frames_has_a_scale_for_each_frame():
    block = settled(FrameNorm(7))
    image, got = given(block, 2, 1, 3, 7)
    agree(got, norm(image, weights_of(block), "norm", axis=3))


def test_the_maximum_and_the_dense_block_are_what_they_say():
    top, block = GlobalMax(), settled(DenseBlock(4, 3))
    image, got = given(top, 2, 4, 2, 3)
    agree(got, image.max(axis=(2, 3)))
    values, got = given(block, 5, 4)
    weights = weights_of(block)
    agree(got, relu(norm(linear(values, weights, "dense"), weights, "norm")))


def gru(frames, weights, name):
    """Gates r, z and the new state n: h = (1 - z) n + z h, with n = tanh(.. + r (U h + b))."""
    state = np.zeros((len(frames), weights[f"{name}.cell.weight_hh"].shape[1]))
    states = []
    for frame in frames.transpose(1, 0, 2):
        given_r, given_z, given_n = np.split(
            frame @ weights[f"{name}.cell.weight_ih"].T + weights[f"{name}.cell.bias_ih"], 3, axis=1
        )
        past_r, past_z, past_n = np.split(
            state @ weights[f"{name}.cell.weight_hh"].T + weights[f"{name}.cell.bias_hh"], 3, axis=1
        )
        update = sigmoid(given_z + past_z)
        new = np.tanh(given_n + sigmoid(given_r + past_r) * past_n)
        state = (1 - update) * new + update * state
        states.append(state)
    return np.stack(states, axis=1)


def test_two_recurrent_layers_of_32_end_in_the_last_state():
    block = settled(GruTop(6, 32))
    image, got = given(block, 2, 6, 1, 15)
    weights = weights_of(block)
    agree(got, gru(gru(image[:, :, 0].transpose(0, 2, 1), weights, "gru_1"), weights, "gru_2")[:, -1])


def test_a_recurrent_layer_is_torchs_own():
    layer, whole = settled(GruLayer(4, 3)), nn.GRU(4, 3, batch_first=True).double()
    whole.load_state_dict({f"{name}_l0": tensor for name, tensor in layer.cell.state_dict().items()})
    frames = torch.randn(2, 5, 4, dtype=torch.float64)
    assert torch.allclose(layer(frames), whole(frames)[0])


def test_tall_and_long_filters_hear_timbre_and_rhythm():
    block = settled(Filters(Vertical(4, 6, 7), Vertical(4, 3, 7), Horizontal(2, 9), Horizontal(2, 5)))
    image, got = given(block, 2, 1, 10, 12)
    weights, expected = weights_of(block), []
    for name in "12":
        inner = norm(convolved(image, weights, f"{name}.conv", pad=(0, 3)), weights, f"{name}.norm")
        expected.append(relu(inner).max(axis=2))
    for name, pad in (("3", 4), ("4", 2)):
        course = image.mean(axis=2)
        inner = conv1d(course, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], pad)
        expected.append(relu(norm(inner, weights, f"{name}.norm")))
    agree(got, np.concatenate(expected, axis=1))


def test_the_densely_connected_layers_keep_every_output():
    block = settled(DenselyConnected(5, 3, 7))
    frames, got = given(block, 2, 5, 9)
    weights = weights_of(block)

    def layer(values, name):
        inner = conv1d(values, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], 3)
        return relu(norm(inner, weights, f"{name}.norm"))

    one = layer(frames, "1")
    two = layer(one, "2") + one
    three = layer(two, "3") + two
    agree(got, np.concatenate([frames, one, two, three], axis=1))
    summed = MaxAndMean()(torch.from_numpy(got)).numpy()
    agree(summed, np.concatenate([got.max(axis=2), got.mean(axis=2)], axis=1))


def harmonic_bank(quality, bins=257, harmonics=6, rate=16000):
    """Triangles by their two slopes, as the paper draws them: (harmonics * bands, bins)."""
    lowest = 440 * 2 ** ((np.arange(24, 88, 0.5) - 69) / 12)
    centres = np.concatenate([lowest * i for i in range(1, harmonics + 1)])[:, None]
    centres = centres.astype(np.float32).astype(np.float64)  # as a network keeps its buffers
    width = (0.1079 * centres + 24.7) / quality
    hertz = np.linspace(0, rate / 2, bins)
    rising, falling = 1 + 2 * (hertz - centres) / width, 1 - 2 * (hertz - centres) / width
    return np.maximum(0, np.minimum(rising, falling))


@pytest.mark.parametrize("quality", [1.0, 2.5])
def test_harmonic_filters_are_triangles_around_multiples_of_each_pitch(quality):
    block = HarmonicFilters(16000, 257, 6).double()
    block.quality.data.fill_(quality)
    spectrum, got = given(block, 2, 257, 3)
    expected = np.einsum("nf,bft->bnt", harmonic_bank(quality), spectrum)
    assert band_centres(16000, 6).shape == (128,)
    agree(got, expected.reshape(2, 6, 128, 3))


def spectrum_of(wave, samples=512, hop=256):
    """|STFT|^2 of centred, mirrored, Hann windows: (bins, frames)."""
    mirrored = np.pad(wave, samples // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(mirrored, samples)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    return np.abs(np.fft.rfft(pieces * hann, axis=1)).T ** 2


def decibels(power):
    return 10 * np.log10(np.maximum(power, 1e-10))


def test_the_harmonic_front_ends_in_decibels():
    front = HarmonicFront(16000, 512, 256, 6).eval()
    wave = np.random.default_rng(0).uniform(-1, 1, 4096)
    expected = decibels(harmonic_bank(1.0) @ spectrum_of(wave)).reshape(6, 128, 17)
    with torch.no_grad():
        got = front.decibels(torch.from_numpy(wave).float()[None, None])[0].numpy()
    silent = expected == -100  # a narrow band between two bins, as below 100 Hz, hears nothing
    assert 0 < silent.mean() < 0.05
    assert np.abs(got - expected)[~silent].max() < 1e-2
    assert (got[silent] < -50).all()


def htk_bank(bins, bands, rate):
    """Triangles of height 1 between equal steps of 2595 log10(1 + f / 700): (bands, bins)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)[:, None]
    hertz = np.linspace(0, rate / 2, bins)
    rising = (hertz - edges[:-2]) / np.diff(edges, axis=0)[:-1]
    falling = (edges[2:] - hertz) / np.diff(edges, axis=0)[1:]
    return np.maximum(0, np.minimum(rising, falling))


@pytest.mark.parametrize("bands", [96, 128])
def test_wons_front_is_decibels_on_htks_scale(bands):
    front = won_mel(bands).eval()
    wave = np.random.default_rng(0).uniform(-1, 1, 3000)
    expected = decibels(htk_bank(257, bands, 16000) @ spectrum_of(wave))
    with torch.no_grad():
        got = front(torch.from_numpy(wave).float()[None, None])[0, 0].numpy() * math.sqrt(1 + 1e-5)
    assert np.abs(got - expected).max() < 1e-2


def test_chois_spectrogram_is_decibels_of_power():
    mel = choi_mel("none")
    wave = np.random.default_rng(0).uniform(-1, 1, 2560)
    expected = decibels(mel.filter_bank.double().numpy() @ spectrum_of(wave))
    got = mel(torch.from_numpy(wave).float()[None, None])[0].numpy()
    assert np.abs(got - expected).max() < 1e-2


def attended(tokens, weights, name, heads):
    batch, length, width = tokens.shape
    query, key, value = (
        linear(tokens, weights, f"{name}.{part}").reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
        for part in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
    shares = np.exp(scores - scores.max(axis=3, keepdims=True))
    shares /= shares.sum(axis=3, keepdims=True)
    return (shares @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)


def layer_norm(values, weights, name):
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def transformed(tokens, weights, heads, name=""):
    """A layer of BERT: attention, dense, add, norm; dense, GELU, dense, add, norm."""
    out = linear(attended(tokens, weights, f"{name}attention", heads), weights, f"{name}output")
    tokens = layer_norm(tokens + out, weights, f"{name}norm_1")
    inner = linear(tokens, weights, f"{name}dense_1")
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    return layer_norm(tokens + linear(inner, weights, f"{name}dense_2"), weights, f"{name}norm_2")


def test_a_transformer_layer_is_berts():
    block = settled(TransformerLayer(8, heads=2, hidden=12, dropout=0.4, attention_dropout=0.5))
    tokens, got = given(block, 2, 5, 8)
    agree(got, transformed(tokens, weights_of(block), heads=2))
    assert isinstance(block.attention, SelfAttention)


def test_the_class_token_goes_first_and_alone_into_the_pooler():
    top, pooler = settled(AttentionTop(8, 2, 4, 16, 0.4, 0.5)), settled(Pooler(8))
    image, tokens = given(top, 3, 8, 1, 6)
    weights = weights_of(top)
    frames = image[:, :, 0].transpose(0, 2, 1)
    token = np.broadcast_to(class_token(8).double().numpy(), (3, 1, 8))
    expected = np.concatenate([token, frames], axis=1)
    for name in ("layers.1.", "layers.2."):
        expected = transformed(expected, weights, 4, name)
    agree(tokens, expected)
    with torch.no_grad():
        pooled = pooler(torch.from_numpy(tokens)).numpy()
    agree(pooled, np.tanh(linear(expected[:, 0], weights_of(pooler), "dense")))


def test_a_higher_quality_makes_narrower_triangles():
    filters = HarmonicFilters(16000, 257, 6)
    wide = filters.filter_bank()
    filters.quality.data.fill_(4.0)
    narrow = filters.filter_bank()
    assert (narrow <= wide).all()
    assert (narrow > 0).sum() < (wide > 0).sum() / 2
    assert wide.max() <= 1


def test_frames_have_no_order_for_the_class_token():
    torch.manual_seed(0)
    top = AttentionTop(8, 2, 4, 16, 0.0, 0.0).eval()
    image = torch.randn(1, 8, 1, 6)
    with torch.no_grad():
        assert torch.allclose(top(image)[:, 0], top(image.flip(3))[:, 0], atol=1e-6)


def test_frames_seen_are_counted_from_the_end_to_the_start():
    assert frames_seen([]) == 1
    assert frames_seen([(3, 1), (3, 1)]) == 5
    assert frames_seen([(3, 1), (2, 2), (3, 1), (2, 2)]) == 10
    assert frames_seen([(3, 2), (3, 1)]) == 7
