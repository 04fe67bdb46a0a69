"""Dieleman's networks, the persistent CNN and the sample-level blocks: layers, counts, lengths, first weights."""

import pickle

import pytest
import torch
from torch import nn

import zoo
from zoo.layers.frontends import LogMel

PARAMETERS = {
    "dieleman_raw": 107_870,
    "dieleman_mel": 74_974,
    "dieleman_raw_1024": 180_574,
    "dieleman_mel_1024": 49_374,
    "persistent_cnn": 3_839_218,
    "persistent_cnn_p1": 2_528_498,
    "persistent_cnn_fcn": 2_200_818,
    "persistent_cnn_landscape": 1_992_818,
    "samplecnn_basic": 1_869_874,
    "samplecnn_basic_multi": 2_683_442,
    "samplecnn_se": 23_929_138,
    "samplecnn_se_multi": 24_742_706,
    "samplecnn_res1": 2_036_018,
    "samplecnn_res1_multi": 2_849_586,
    "samplecnn_res2": 4_107_314,
    "samplecnn_res2_multi": 4_920_882,
    "samplecnn_rese1": 24_095_282,
    "samplecnn_rese1_multi": 24_908_850,
    "samplecnn_rese2": 26_166_578,
    "samplecnn_rese2_multi": 26_980_146,
}
# Macro ROC-AUC on MTAT: Dieleman and Schrauwen, Liu et al., Kim et al., as the last two and Lee et al. cite them.
MTAT = {
    "dieleman_raw": 0.8487,
    "dieleman_mel": 0.8815,
    "dieleman_raw_1024": 0.8366,
    "dieleman_mel_1024": 0.8690,
    "persistent_cnn": 0.9013,
    "samplecnn_basic": 0.9055,
    "samplecnn_basic_multi": 0.9077,
    "samplecnn_se": 0.9083,
    "samplecnn_se_multi": 0.9111,
    "samplecnn_res1": 0.9048,
    "samplecnn_res1_multi": 0.9037,
    "samplecnn_res2": 0.9061,
    "samplecnn_res2_multi": 0.9098,
    "samplecnn_rese1": 0.9066,
    "samplecnn_rese1_multi": 0.9053,
    "samplecnn_rese2": 0.9102,
    "samplecnn_rese2_multi": 0.9113,
}
SHORT = [name for name in PARAMETERS if not name.startswith("samplecnn")]


def on_meta(name, **options):
    """A network with shapes but without numbers."""
    with torch.device("meta"):
        return zoo.create(name, **options)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_has_its_published_number_of_parameters(name):
    entry = zoo.entry(name)
    assert entry.cost().parameters == PARAMETERS[name]
    assert entry.counted is None or entry.counted.parameters == PARAMETERS[name]
    assert entry.counted is None or (entry.counted.difference, entry.counted.origin) == ("", "reference")


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_says_what_it_is_and_what_it_has_reached(name):
    entry = zoo.entry(name)
    assert name in zoo.names()
    assert [row.auc for row in entry.paper if row.dataset == "mtat"] == [
        auc for n, auc in MTAT.items() if n == name
    ]
    assert entry.source.startswith(("Dieleman, Schrauwen", "Liu, Jeng, Yang", "Kim, Lee, Nam"))
    assert entry.rules.trained.note
    assert pickle.loads(pickle.dumps(entry)) == entry


def test_rows_of_the_paper_stand_where_they_belong():
    table = zoo.names(table="table4")
    assert {"dieleman_raw", "persistent_cnn"} <= set(table)
    grades = {name: zoo.entry(name).paper[0].grade for name in ("dieleman_raw", "persistent_cnn")}
    assert grades == {"dieleman_raw": "B", "persistent_cnn": "G"}
    msd = {name: r.auc for name in PARAMETERS for r in zoo.entry(name).paper if r.dataset == "msd"}
    assert msd == {"samplecnn_se_multi": 0.8840, "samplecnn_rese2_multi": 0.8847}


def test_a_block_without_published_code_says_so():
    assert zoo.entry("samplecnn_rese2").certainty.grade == "A"
    assert str(zoo.entry("samplecnn_rese1").certainty).startswith("C (from memory of a paper; unverified)")


@pytest.mark.parametrize(
    ("name", "depth", "samples"),
    [
        ("dieleman_raw", 4, 13_056),
        ("dieleman_mel", 3, 13_056),
        ("persistent_cnn", 4, 69_120),
        ("persistent_cnn_landscape", 3, 69_120),
        ("samplecnn_basic", 11, 118_095),
        ("samplecnn_rese2_multi", 20, 177_141),
    ],
)
def test_depth_and_receptive_field(name, depth, samples):
    entry = zoo.entry(name)
    assert (entry.depth, entry.receptive_field_samples) == (depth, samples)


def test_a_basic_network_sees_what_3_9_sees():
    same = ("input_samples", "depth", "receptive_field_samples")
    basic, plain = zoo.entry("samplecnn_basic"), zoo.entry("samplecnn_m3_n9_s3")
    assert [getattr(basic, key) for key in same] == [getattr(plain, key) for key in same]
    for key in ("parameters", "multiply_adds"):
        assert getattr(basic.cost(), key) == getattr(plain.cost(), key), key


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("dieleman_raw", {"front": (128, 187), "body.1": (32, 45), "body.2": (32, 9), "embedding": (100,)}),
        ("dieleman_mel", {"front": (128, 187), "body.1": (32, 45), "body.2": (32, 9)}),
        ("dieleman_raw_1024", {"front": (128, 46), "body.1": (32, 10), "body.2": (32, 1)}),
        ("dieleman_mel_1024", {"front": (128, 46), "body.1": (32, 10), "body.2": (32, 1)}),
        ("persistent_cnn", {"front": (128, 911), "body": (64, 228), "patches": (6400, 7), "top": (7, 512)}),
        ("persistent_cnn_fcn", {"patches": (3200, 8), "top": (8, 512)}),
        ("persistent_cnn_landscape", {"patches": (3200, 7)}),
        ("persistent_cnn_p1", {"patches": (3840, 7)}),
        (
            "samplecnn_rese2_multi",
            {"front": (128, 19683), "body.1": (128, 6561), "body.8": (256, 3), "body.9": (512, 1)},
        ),
        ("samplecnn_se_multi", {"body": (1024,), "embedding": (1024,), "body.9.excitation": (512, 1)}),
        ("samplecnn_se", {"body": (512,), "embedding": (512,)}),
    ],
)
def test_layers_give_these_channels_and_lengths(name, layers):
    network = on_meta(name).eval()
    with torch.no_grad():
        found = network.features(torch.zeros(2, network.input_samples, device="meta"), list(layers))
    assert {layer: tuple(output.shape[1:]) for layer, output in found.items()} == layers


def test_what_the_authors_fixed_cannot_change_and_stay_published():
    assert zoo.entry("dieleman_raw").with_options(pool_end="keep").paper == ()
    assert zoo.entry("samplecnn_rese2").with_options(init="glorot_uniform").paper == ()
    assert "ciaua/PersistenceNetwork" in zoo.entry("persistent_cnn").certainty.note


def test_frames_of_1024_samples_need_the_end_of_a_pool():
    words = "pool_end=drop: frames of 1024 samples are too few for two pools of 4; use pool_end=keep"
    with pytest.raises(zoo.ZooError, match=words):
        zoo.entry("dieleman_mel_1024").with_options(pool_end="drop")
    kept = zoo.entry("dieleman_raw").with_options(pool_end="keep")
    assert kept.cost().parameters - PARAMETERS["dieleman_raw"] == 32 * 100  # a tenth frame


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("dieleman_raw", {"frame": 512}, "frame=512: dieleman_raw has frame=256; use the name that says so"),
        ("persistent_cnn", {"functions": 40}, "functions=40 is outside 1 to 32"),
        ("samplecnn_se", {"levels": 3}, "samplecnn_se has levels=1"),
        ("samplecnn_se", {"block": "sse"}, "block='sse' is not one of basic, se, res1"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_with_why(name, options, words):
    with pytest.raises(zoo.ZooError, match=words):
        zoo.entry(name).with_options(**options)


@pytest.mark.parametrize("name", ["samplecnn_resse", "dieleman_raw_512", "persistent_cn"])
def test_a_name_near_one_of_these_gets_it_named(name):
    with pytest.raises(
        zoo.ZooError, match=f"no network is called '{name}'; did you mean (samplecnn_|diel|pers)"
    ):
        zoo.entry(name)


def test_norms_are_those_of_keras_2():
    network = on_meta("samplecnn_rese2_multi")
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert len(norms) == 1 + 9 * 2 + 2 + 1  # the front, two a block, two projections, the embedding
    assert all((norm.eps, norm.momentum) == (1e-3, 0.01) for norm in norms)


def test_dropout_is_where_the_authors_have_it():
    blocks = on_meta("samplecnn_rese2")
    assert [blocks.body[i].residual.dropout.p for i in range(9)] == [0.2] * 9
    assert blocks.dropout.p == 0.5
    persistent = on_meta("persistent_cnn", dropout=0.3)
    assert [layer.p for layer in persistent.modules() if isinstance(layer, nn.Dropout)] == [0.3] * 3
    assert not [layer for layer in on_meta("dieleman_raw").modules() if isinstance(layer, nn.Dropout)]


def test_first_weights_fill_the_bounds_of_the_authors():
    torch.manual_seed(0)
    bounds = {
        "samplecnn_rese2": {
            "body.1.residual.conv1": (6 / (128 * 3)) ** 0.5,  # he uniform
            "body.3.shortcut.conv": (6 / (128 + 256)) ** 0.5,  # Glorot uniform, as what follows
            "body.1.residual.excitation.expand": (6 / (128 * 17)) ** 0.5,
        },
        "persistent_cnn": {
            "body.conv": (6 / (8 * (128 + 64))) ** 0.5,
            "patches.convolution.conv": (6 / (64 + 3200)) ** 0.5,
            "top.1.conv": (6 / (6400 + 512)) ** 0.5,
        },
        "dieleman_raw": {"front.conv": (6 / (256 * 129)) ** 0.5},
    }
    for name, layers in bounds.items():
        network = zoo.create(name)
        for key, bound in layers.items():
            layer = network.get_submodule(key)
            assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.02), key
            assert not layer.bias.any()


def test_spectrograms_are_those_of_their_papers():
    persistent, dieleman = on_meta("persistent_cnn").front, on_meta("dieleman_mel").front
    assert (persistent.spectrogram.power, dieleman.spectrogram.power) == (2.0, 1.0)
    assert (persistent.spectrogram.hop_samples, dieleman.spectrogram.hop_samples) == (512, 256)
    assert persistent.mean.shape == (128, 1)
    assert "front.mean" not in on_meta("dieleman_mel").state_dict()
    assert "front.mean" in on_meta("dieleman_mel", standardise="whole").state_dict()
    assert (dieleman.compress(torch.tensor(0.5)), dieleman.standardise) == (
        torch.tensor(5001.0).log(),
        "none",
    )


@pytest.mark.parametrize("name", ["persistent_cnn_fcn", "dieleman_mel", "dieleman_mel_1024"])
def test_no_mel_band_is_empty(name):
    network = zoo.create(name)
    front = next(layer for layer in network.modules() if isinstance(layer, LogMel))
    assert front.filter_bank.sum(dim=1).min() > 0


def test_names_in_a_checkpoint_are_readable():
    keys = {key for key in on_meta("samplecnn_rese2_multi").state_dict() if key.startswith("body.3.")}
    assert {"body.3.residual.conv1.weight", "body.3.shortcut.norm.bias"} <= keys
    assert "body.3.residual.excitation.reduce.weight" in keys
    landscape = on_meta("persistent_cnn_landscape").state_dict()
    convolutions = ("body.conv", "top.1.conv", "top.2.conv", "head")
    kept = {f"{layer}.{kind}" for layer in convolutions for kind in ("weight", "bias")}
    assert set(landscape) == {"front.mean", "front.std", *kept}
