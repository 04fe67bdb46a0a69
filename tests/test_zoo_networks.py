"""The networks against the paper: layers, lengths, padding, front ends, initialisation."""

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo import registry
from zoo.counting import counted
from zoo.layers.frontends import LogMel
from zoo.layers.tower import ConvBlock, same_pad
from zoo.mn_rule import widths

# Table 1: parameters of each convolution of 3^9 and of the dense layer.
TABLE_1 = [512, 49280, 49280, 98560, *[196864] * 5, 393728, 262656, 25650]
RAW, EVEN, WIDE, MEL = (
    "samplecnn_m3_n3_s9",
    "samplecnn_m2_n4_s8",
    "samplecnn_m3_n3_s9_w27",
    "melcnn_m3_n3_s27_w81",
)
SMALL = [RAW, EVEN, WIDE, MEL]


def on_meta(name, **options):
    """A network with shapes but without numbers."""
    with torch.device("meta"):
        return zoo.create(name, **options)


def on_layers(entry, n_tags):
    """The cost as it is counted on the built network."""
    return counted(lambda: entry.build(n_tags), entry.input_samples)


def size(layer):
    return sum(p.numel() for p in layer.parameters())


def test_3_9_has_the_parameters_of_table_1():
    network = on_meta("samplecnn_m3_n9_s3")
    layers = [
        network.front.conv,
        *(module.conv for module in network.body),
        network.top.conv,
        network.head,
    ]
    assert [size(layer) for layer in layers] == TABLE_1
    assert sum(TABLE_1) == 1_863_986
    assert size(network) == zoo.entry("samplecnn_m3_n9_s3").cost().parameters == 1_869_874


@pytest.mark.parametrize(
    "options",
    [
        {"first": 16, "filters": "half"},
        {"filters": "double"},
        {"first": 32, "filters": "ramp"},
        {"filters": "msd_release"},
        {"first_pad": "context"},
    ],
)
def test_the_closed_form_follows_the_options(options):
    entry = zoo.entry(WIDE).with_options(**options)
    assert entry.cost() == on_layers(entry, 50)


@pytest.mark.parametrize("name", [*zoo.names(table="table2"), *zoo.names(table="table3")])
def test_every_module_leaves_one_frame_in_m(name):
    network = on_meta(name).eval()
    options = network.entry.options
    with torch.no_grad():
        frames = network.front(torch.zeros(1, 1, network.input_samples, device="meta"))
        lengths = [frames.shape[2]]
        for module in network.body:
            frames = module(frames)
            lengths.append(frames.shape[2])
    assert lengths == [options["m"] ** i for i in range(options["n"], -1, -1)]
    assert frames.shape[1] == 512


def test_filter_plans_follow_the_rule():
    assert widths(3, "paper") == [128, 128, 512]
    assert widths(9, "paper") == [128, 128, *[256] * 6, 512]
    assert widths(4, "half") == [64, 64, 128, 256]
    assert widths(4, "double") == [256, 256, 512, 1024]
    assert widths(9, "ramp", 16) == [16, 32, 32, 64, 64, 128, 128, 256, 512]
    assert widths(9, "ramp", 128) == [128, 128, 128, 128, 256, 256, 256, 256, 512]
    assert widths(3, "ramp", 1024) == [512, 512, 512]
    assert widths(9, "msd_release") == [128, 128, *[256] * 7]


@pytest.mark.parametrize("name", ["samplecnn_m3_n5_s243_w729", "samplecnn_m3_n6_s81_w243"])
@pytest.mark.parametrize("first_pad", ["zero", "context"])
def test_a_window_longer_than_the_stride_gives_exactly_3_n_frames(name, first_pad):
    network = on_meta(name, first_pad=first_pad)
    wave = torch.zeros(1, 1, network.input_samples, device="meta")
    assert network.front.eval()(wave).shape[2] == 3 ** network.entry.options["n"]


def test_both_first_paddings_agree_but_for_the_edge_frames():
    torch.manual_seed(0)
    zero = zoo.create(WIDE).eval()
    context = zoo.create(WIDE, first_pad="context").eval()
    context.load_state_dict(zero.state_dict())
    wave = torch.randn(1, 1, context.input_samples)
    with torch.no_grad():
        inner, whole = zero.front(wave[..., 9:-9]), context.front(wave)
    assert torch.allclose(inner[..., 1:-1], whole[..., 1:-1], atol=1e-5)
    assert not torch.allclose(inner[..., 0], whole[..., 0], atol=1e-3)


def test_theano_puts_the_odd_zero_to_the_left():
    assert [same_pad(m, "theano") for m in (2, 3, 4, 5)] == [(1, 0), (1, 1), (2, 1), (2, 2)]
    assert [same_pad(m, "torch") for m in (2, 3, 4, 5)] == [(0, 1), (1, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize("m", [2, 4])
def test_even_filters_padded_either_way_are_mirror_images(m):
    torch.manual_seed(0)
    theano = ConvBlock(3, 5, m, pad=same_pad(m, "theano"), pool=m).eval()
    mirror = ConvBlock(3, 5, m, pad=same_pad(m, "torch"), pool=m).eval()
    frames = torch.randn(2, 3, m**3)
    mirror.load_state_dict(theano.state_dict())
    assert not torch.allclose(theano(frames), mirror(frames), atol=1e-3)
    mirror.conv.weight.data = theano.conv.weight.data.flip(2)
    assert torch.allclose(theano(frames), mirror(frames.flip(2)).flip(2), atol=1e-5)


def test_torch_padding_is_what_torch_calls_same():
    torch.manual_seed(0)
    block = ConvBlock(3, 5, 4, pad=same_pad(4, "torch"))
    frames = torch.randn(2, 3, 16)
    left, right = same_pad(4, "torch")
    same = nn.functional.conv1d(nn.functional.pad(frames, (left, right)), block.conv.weight, block.conv.bias)
    assert torch.equal(block(frames), nn.functional.relu(block.norm(same)))


def test_the_mel_network_is_the_raw_one_without_its_first_layer():
    raw, mel = on_meta("samplecnn_m3_n6_s81_w243"), on_meta("melcnn_m3_n6_s81_w243")
    assert size(raw) - size(mel) == 128 * 243 + 128 + 256
    tower = {key: value.shape for key, value in raw.state_dict().items() if not key.startswith("front.")}
    assert tower == {key: v.shape for key, v in mel.state_dict().items() if not key.startswith("front.")}
    assert {key for key in mel.state_dict() if key.startswith("front.")} == {"front.mean", "front.std"}


@pytest.mark.parametrize("name", zoo.names("melcnn*"))
def test_the_spectrogram_has_81_243_or_729_frames(name):
    network = on_meta(name)
    frames = network.front(torch.zeros(2, 1, 59049, device="meta"))
    assert frames.shape == (2, 128, 3 ** network.entry.options["n"])


def slaney_bank(bins, bands, rate):
    """The mel filter bank from its definition: linear to 1 kHz, then 27 steps per factor 6.4; unit area."""
    log_step = np.log(6.4) / 27
    top = 15 + np.log(rate / 2 / 1000) / log_step
    mels = np.linspace(0, top, bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(log_step * (mels - 15)))
    hertz = np.linspace(0, rate / 2, bins)[:, None]
    rising = (hertz - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])


@pytest.mark.parametrize(("window", "hop"), [(729, 729), (729, 243), (243, 243), (243, 81), (81, 81)])
def test_the_spectrogram_equals_one_computed_in_numpy(window, hop):
    wave = np.random.default_rng(0).uniform(-1, 1, 59049)
    network = zoo.create(f"melcnn_m3_n{round(np.log(59049 / hop) / np.log(3))}_s{hop}_w{window}")
    mirrored = np.pad(wave, 364, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(mirrored, 729)[::hop]
    hann = np.zeros(729)
    start = (729 - window) // 2
    hann[start : start + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.abs(np.fft.rfft(pieces * hann, axis=1))
    expected = np.log10(1 + 10 * magnitude @ slaney_bank(365, 128, 22050)).T
    got = network.front(torch.from_numpy(wave).float()[None, None])[0].numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-4


def test_calibration_makes_the_training_spectrogram_standard():
    torch.manual_seed(0)
    network = zoo.create(MEL)
    waves = [
        torch.rand(size, network.input_samples) * scale for size, scale in ((3, 1.0), (5, 0.1), (2, 0.5))
    ]
    zoo.calibrate(network, iter(waves))
    zoo.calibrate(network, iter(waves))  # starts afresh
    frames = network.front(torch.cat(waves).unsqueeze(1))
    assert frames.mean().item() == pytest.approx(0, abs=1e-4)
    assert frames.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert network.state_dict()["front.std"] != 1


def test_calibration_leaves_a_raw_network_and_the_waves_alone():
    waves = iter([torch.zeros(1, 243)])
    zoo.calibrate(zoo.create(RAW), waves)
    assert len(list(waves)) == 1


@pytest.mark.parametrize(
    ("waves", "words"), [([], "no training waves"), ([torch.zeros(2, 729)], "silent training")]
)
def test_calibration_needs_sound(waves, words):
    with pytest.raises(zoo.ZooError, match=words):
        zoo.calibrate(zoo.create(MEL), waves)


def test_the_spectrogram_stays_in_full_precision_under_autocast():
    network = zoo.create(MEL)
    wave = torch.rand(1, network.input_samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network.front.log_mel(wave[:, None]).dtype == torch.float32
        assert network.eval()(wave).shape == (1, 50)


def test_normalisation_and_dropout_are_those_of_the_authors():
    network = on_meta(RAW)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert len(norms) == 5
    assert all((norm.eps, norm.momentum) == (1e-5, 0.01) for norm in norms)
    assert network.dropout.p == 0.5
    assert on_meta(RAW, dropout=0.1).dropout.p == 0.1


def test_initial_weights_fill_the_bounds_of_each_scheme():
    torch.manual_seed(0)
    bounds = {
        "he_uniform": {"front.conv": 0.8165, "body.1.conv": 0.125, "body.4.conv": 0.0884, "top.conv": 0.1083},
        "keras110": {"front.conv": 0.2165, "body.1.conv": 0.0191, "body.4.conv": 0.0096, "top.conv": 0.0048},
    }
    for init, layers in bounds.items():
        network = zoo.create("samplecnn_m3_n5_s9", init=init)
        for key, bound in layers.items():
            layer = network.get_submodule(key)
            assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.02), (init, key)
            assert not layer.bias.any()
        assert network.head.weight.abs().max().item() == pytest.approx((6 / 562) ** 0.5, rel=0.02)


def test_a_seed_fixes_the_weights():
    first, second = ([torch.manual_seed(7), zoo.create(RAW)][1] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (
            torch.zeros(2, 44100),
            "segment has 44100 samples, samplecnn_m3_n9_s3 reads 59049; open the dataset with",
        ),
        (torch.zeros(59049), r"waves have shape \(59049,\), samplecnn_m3_n9_s3 reads \(batch, 59049\)"),
        (torch.zeros(1, 59049, dtype=torch.int16), "waves are torch.int16, .* divide int16 by 32768"),
    ],
)
def test_a_wave_of_the_wrong_form_is_refused_with_what_to_change(wave, words):
    with pytest.raises(ValueError, match=words):
        on_meta("samplecnn_m3_n9_s3")(wave)


def test_names_in_a_checkpoint_are_readable_and_stable():
    keys = [key for key in on_meta(RAW).state_dict() if key.endswith("weight")]
    body = [f"body.{i}.{layer}.weight" for i in (1, 2, 3) for layer in ("conv", "norm")]
    assert keys == [
        "front.conv.weight",
        "front.norm.weight",
        *body,
        "top.conv.weight",
        "top.norm.weight",
        "head.weight",
    ]


def test_a_family_without_a_closed_form_is_counted_on_its_network(monkeypatch):
    def build(entry, n_tags):
        return nn.Sequential(nn.Linear(entry.input_samples, entry.options["hidden"]), nn.Linear(8, n_tags))

    family = zoo.Family(
        name="perceptron",
        source="this test",
        options={"hidden": zoo.Option(8, "width of the hidden layer", low=1, high=64)},
        listed=(zoo.Listing("perceptron_100", {}, "two dense layers", zoo.Certainty("G", "made up")),),
        input_samples=lambda options: 100,
        build=build,
    )
    zoo.names()
    for table in ("_families", "_listed"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    zoo.register(family)
    assert "perceptron_100" in zoo.names()
    assert zoo.entry("perceptron_100").cost(n_tags=5) == zoo.Cost(
        parameters=100 * 8 + 8 + 8 * 5 + 5,
        multiply_adds=100 * 8 + 8 * 5,
        training_bytes=4 * (100 + 8),  # the inputs of both layers
    )
    assert zoo.create("perceptron_100", n_tags=5)(torch.zeros(2, 100)).shape == (2, 5)
    with pytest.raises(
        zoo.ZooError, match="no network is called 'perceptron_10'; did you mean perceptron_100"
    ):
        zoo.entry("perceptron_10")


def test_an_even_fft_drops_its_extra_frame():
    front = LogMel(
        sample_rate_hz=16000, fft_samples=512, window_samples=512, hop_samples=256, bands=32, frames=8
    )
    assert front(torch.zeros(1, 1, 2048)).shape == (1, 32, 8)
