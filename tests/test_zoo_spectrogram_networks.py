"""The 2-D networks on spectrograms: Choi's, Won's and Pons's. Parameters, shapes, inputs, first weights, refusals."""

import math
import pickle

import numpy as np
import pytest
import torch

import zoo
from zoo.layers.harmonic import band_centres

# Parameters for 50 tags, batch norm's scale and shift included: of the authors' code, or of independent counts.
PARAMETERS = {
    "fcn4": 17_365_938,
    "fcn5": 25_183_026,
    "fcn6": 27_232_050,
    "fcn7": 28_283_698,
    "fcn5_release": 865_950,
    "crnn": 396_978,
    "crnn_3m": 3_031_606,
    "short_chunk": 3_687_348,
    "short_chunk_res": 12_104_244,
    "musicnn": 784_300,
    "musicnn_big": 7_972_000,
    "harmonic_cnn": 3_631_551,
    "cnnsa": 10_521_652,
}
# Layer by layer, without the batch.
SHAPES = {
    "fcn4": {
        "front": (1, 96, 1366),
        "body.1": (128, 48, 341),
        "body.2": (384, 12, 68),
        "body.3": (768, 4, 8),
        "body.4.activation": (2048, 4, 8),
        "body.4": (2048, 1, 1),
        "embedding": (2048,),
    },
    "fcn5": {"body.3": (512, 12, 21), "body.4": (1024, 4, 4), "body.5": (2048, 1, 1)},
    "fcn6": {"body.5": (2048, 1, 1), "body.6": (1024, 1, 1)},
    "fcn7": {"body.6": (1024, 1, 1), "body.7": (1024, 1, 1), "embedding": (1024,)},
    "fcn5_release": {"body.1": (32, 48, 341), "body.4": (192, 4, 4), "embedding": (256,)},
    "crnn": {
        "front": (1, 96, 1440),
        "body.1": (64, 48, 720),
        "body.2": (128, 16, 240),
        "body.3": (128, 4, 60),
        "body.4": (128, 1, 15),
        "top.gru_1": (15, 32),
        "top": (32,),
    },
    "crnn_3m": {"body.1": (169, 48, 720), "body.4": (339, 1, 15), "top.gru_1": (15, 169), "top": (169,)},
    "short_chunk": {
        "front": (1, 128, 231),
        "body.1": (128, 64, 115),
        "body.6": (256, 2, 3),
        "body.7": (512, 1, 1),
        "embedding": (512,),
    },
    "short_chunk_res": {"body.1": (128, 64, 116), "body.7": (512, 1, 2), "top": (512,), "embedding": (512,)},
    "musicnn": {
        "front": (1, 96, 188),
        "filters.1": (204, 188),
        "filters.5": (51, 188),
        "filters": (561, 188),
        "body": (753, 188),
        "top": (1506,),
        "embedding": (200,),
    },
    "musicnn_big": {"body": (2097, 188), "top": (4194,), "embedding": (500,)},
    "harmonic_cnn": {
        "front.filters": (6, 128, 313),
        "front": (6, 128, 313),
        "body.4": (128, 8, 19),
        "body.5": (256, 4, 9),
        "body.6": (256, 2, 3),
        "body.7": (256, 1, 1),
        "embedding": (256,),
    },
    "cnnsa": {
        "front": (1, 128, 938),
        "body.3": (256, 16, 118),
        "body.7": (256, 1, 118),
        "top.layers.1.attention.weights": (8, 119, 119),
        "top": (119, 256),
        "embedding": (256,),
    },
}
# The same networks in little, which run in a moment.
SMALL = {
    "fcn4": {"width": 0.125},
    "fcn7": {"width": 0.125},
    "fcn5_release": {"width": 0.125},
    "crnn": {"first": 4, "maps": 8, "units": 8},
    "short_chunk": {"channels": 8},
    "short_chunk_res": {"channels": 8},
    "musicnn": {"tall": 8, "long": 4, "middle": 8, "dense": 16},
    "harmonic_cnn": {"channels": 8},
    "cnnsa": {"channels": 8, "heads": 4, "hidden": 32},
}
SAMPLES = {"fcn": 349_440, "crnn": 349_440, "short_chunk": 59_049, "musicnn": 48_000, "harmonic_cnn": 80_000}


def on_meta(name, **options):
    with torch.device("meta"):
        return zoo.create(name, **options)


def small(name, **more):
    torch.manual_seed(0)
    return zoo.create(name, n_tags=5, **SMALL[name], **more)


def noise(network, batch):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, network.input_samples, generator=generator) * 2 - 1


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_parameters_of_its_source(name):
    assert zoo.entry(name).cost().parameters == PARAMETERS[name]
    assert sum(p.numel() for p in on_meta(name).parameters()) == PARAMETERS[name]


def test_every_network_of_these_families_is_counted_here():
    families = ("fcn", "crnn", "short_chunk", "musicnn", "harmonic_cnn", "cnnsa")
    listed = {name for name in zoo.names() if zoo.entry(name).family in families}
    assert listed == set(PARAMETERS) == set(SHAPES)


def test_the_counts_of_others_are_these():
    exact = {"fcn4", "short_chunk", "short_chunk_res", "musicnn", "musicnn_big", "harmonic_cnn", "cnnsa"}
    for name in exact:
        assert zoo.entry(name).counted == zoo.Counted(PARAMETERS[name], origin="reference")
    for name in ("fcn5", "fcn6"):
        counted = zoo.entry(name).counted
        assert counted.parameters == pytest.approx(PARAMETERS[name], rel=0.002)
        assert "in millions" in counted.difference
    assert {zoo.entry(name).counted.origin for name in ("fcn5_release", "crnn", "crnn_3m")} == {"published"}
    assert zoo.entry("fcn5_release").counted.parameters == 865_950
    crnn = zoo.entry("crnn")
    assert crnn.cost().parameters - crnn.counted.parameters == 2 * 3 * 32
    assert "192 more" in crnn.counted.difference
    assert zoo.entry("crnn_3m").cost().parameters == pytest.approx(3_000_000, rel=0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_the_layers_have_the_shapes_of_the_source(name):
    network = on_meta(name).eval()
    wave = torch.zeros(2, network.input_samples, device="meta")
    with torch.no_grad():
        found = network.features(wave, list(SHAPES[name]))
    assert {layer: tuple(values.shape[1:]) for layer, values in found.items()} == SHAPES[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_entry_knows_its_input_and_where_it_comes_from(name):
    entry = zoo.entry(name)
    assert entry.name == name
    assert entry.input_samples == SAMPLES.get(entry.family, 240_000)
    assert entry.sample_rate_hz == (12_000 if entry.family in ("fcn", "crnn") else 16_000)
    assert entry.rules.trained.optimizer == "adam"
    assert "http" in entry.source
    assert entry.certainty.note
    assert all(option.meaning for option in entry.rules.options.values())
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert all(0.8 < row.auc < 0.92 for row in entry.paper)
    assert entry.paper


def test_table_4_has_its_2d_cnn_twice_and_its_crnn():
    rows = {
        name: [(row.dataset, row.auc) for row in zoo.entry(name).paper if row.table == "table4"]
        for name in zoo.names(table="table4")
    }
    assert rows["fcn4"] == [("mtat", 0.894)]
    assert rows["fcn6"] == [("msd", 0.851)]
    assert rows["crnn_3m"] == [("msd", 0.862)]


def test_numbers_of_the_cleaned_split_are_kept_apart():
    for name in ("short_chunk", "short_chunk_res", "musicnn", "harmonic_cnn", "cnnsa"):
        rows = [row for row in zoo.entry(name).paper if row.table == "won2020"]
        assert {row.split for row in rows if row.dataset == "mtat"} == {"cleaned"}
        assert {row.grade for row in rows} <= {"B", "C"}


@pytest.mark.parametrize("name", ["fcn4", "fcn5", "fcn6", "fcn7"])
def test_the_msd_numbers_of_the_paper_carry_its_authors_doubt(name):
    entry = zoo.entry(name)
    assert "incorrect, not reproduced" in entry.certainty.note
    doubted = {row.table: "incorrect" in row.doubt for row in entry.paper if row.dataset == "msd"}
    assert doubted.pop("choi2016slides", False) is False
    assert set(doubted.values()) == {True}


def test_their_reruns_stand_beside_them():
    reruns = {
        name: row.auc for name in PARAMETERS for row in zoo.entry(name).paper if row.table == "choi2016slides"
    }
    assert reruns == {"fcn4": 0.852, "fcn5": 0.855}


def test_what_no_source_is_named_for_is_from_memory():
    assert zoo.entry("crnn_3m").certainty.grade == "C"
    assert "unnamed source" in zoo.entry("crnn_3m").certainty.note


@pytest.mark.parametrize("name", ["fcn5_release", "crnn"])
def test_first_weights_that_the_authors_code_fixes_belong_to_the_published_network(name):
    assert zoo.entry(name).with_options(init="torch").paper == ()


def test_fcn_3_is_not_made_up():
    with pytest.raises(zoo.ZooError, match="no network is called 'fcn3'; did you mean fcn"):
        zoo.entry("fcn3")


@pytest.mark.parametrize(
    ("name", "depth", "seen"),
    [
        ("fcn4", 4, 512 + 256 * 1649),
        ("fcn7", 7, 512 + 256 * 2089),
        ("crnn", 6, 512 + 256 * 161),
        ("short_chunk", 8, 512 + 256 * 381),
        ("short_chunk_res", 15, 512 + 256 * 762),
        ("musicnn", 5, 512 + 256 * 146),
        ("harmonic_cnn", 13, 512 + 256 * 889),
        ("cnnsa", 23, 512 + 256 * 170),
    ],
)
def test_depth_and_receptive_field_follow_from_the_layers(name, depth, seen):
    entry = zoo.entry(name)
    assert (entry.depth, entry.receptive_field_samples) == (depth, seen)


def test_only_the_paper_s_fcn_is_standardised_by_the_training_data():
    network = small("fcn4")
    zoo.calibrate(network, [noise(network, 2)])
    assert network.front.mel.mean != 0
    assert network.front.mel.std > 1
    for name in ("fcn5_release", "crnn", "short_chunk", "musicnn", "harmonic_cnn", "cnnsa"):
        waves = iter([torch.zeros(1, 1)])
        zoo.calibrate(small(name), waves)
        assert len(list(waves)) == 1


def test_the_releases_normalise_their_input_over_frames():
    assert on_meta("fcn5_release").front.norm.norm.num_features == 1366
    assert on_meta("crnn").front.norm.norm.num_features == 1440
    assert on_meta("short_chunk").front.norm.num_features == 1


def test_the_crnn_pads_37_frames_of_zeros_on_both_sides():
    network = small("crnn").eval()
    image = network.features(noise(network, 1), ["front"])["front"][0, 0]
    assert not image[:, :37].any()
    assert not image[:, -37:].any()
    assert (image[:, 37:-37] != 0).all()


def test_choi_s_networks_begin_with_the_weights_that_keras_drew():
    torch.manual_seed(0)
    fcn = zoo.create("fcn5_release")
    assert fcn.body[1].conv.weight.std().item() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.02)
    assert not fcn.body[1].conv.bias.any()
    torch_s = zoo.create("fcn5_release", init="torch")
    assert torch_s.body[1].conv.weight.abs().max().item() <= math.sqrt(1 / (32 * 9))
    crnn = zoo.create("crnn")
    glorot = math.sqrt(6 / (9 * (64 + 128)))
    assert crnn.body[1].conv.weight.abs().max().item() == pytest.approx(glorot, rel=0.01)
    cell = crnn.top.gru_1.cell
    assert cell.weight_ih.abs().max().item() == pytest.approx(math.sqrt(6 / (128 + 32)), rel=0.01)
    for gate in cell.weight_hh.chunk(3):
        assert torch.allclose(gate @ gate.T, torch.eye(32), atol=1e-5)
    assert not cell.bias_hh.any()
    assert zoo.create("crnn", init="torch").top.gru_1.cell.bias_hh.any()


def test_dropout_stands_where_the_authors_put_it():
    assert [block.dropout.p for block in on_meta("fcn4").body] == [0.5] * 4
    crnn = on_meta("crnn")
    assert ([block.dropout.p for block in crnn.body], crnn.dropout.p) == ([0.1] * 4, 0.3)
    layer = on_meta("cnnsa").top.layers[0]
    assert (layer.dropout.p, layer.attention.dropout.p) == (0.4, 0.5)
    assert on_meta("musicnn", dropout=0.2).dropout.p == 0.2


def test_harmonic_bands_are_half_semitones_from_c1_to_below_e6():
    centres = band_centres(16000, 6)
    assert centres[0].item() == pytest.approx(32.703, abs=1e-3)
    assert centres[24].item() == pytest.approx(65.406, abs=1e-3)  # an octave above
    assert centres[-1].item() * 6 < 8000
    network = on_meta("harmonic_cnn")
    assert network.front.filters.quality.numel() == 1
    assert network.front.filters.centres.shape == (6 * 128, 1)


@pytest.mark.parametrize("harmonics", range(1, 7))
def test_fewer_harmonics_leave_bands_enough_for_every_pooling(harmonics):
    network = on_meta("harmonic_cnn", harmonics=harmonics).eval()
    wave = torch.zeros(1, network.input_samples, device="meta")
    with torch.no_grad():
        found = network.features(wave, ["front", "body"])
    assert found["front"].shape[1] == harmonics
    assert found["front"].shape[2] >= 128
    assert found["body"].shape[2] == 1


def test_the_class_token_is_kept_and_never_learned():
    first, second = small("cnnsa"), zoo.create("cnnsa", channels=8, heads=4)
    token = first.state_dict()["top.token"]
    assert torch.equal(token, second.top.token)
    assert "top.token" not in dict(first.named_parameters())
    expected = np.random.RandomState(0).random_sample(16)
    assert np.allclose(token.numpy(), expected)
    assert token[0].item() == pytest.approx(0.5488135)


def test_attention_is_shared_out_among_all_tokens():
    network = small("cnnsa").eval()
    weights = network.features(noise(network, 1), ["top.layers.2.attention.weights"])
    shares = weights["top.layers.2.attention.weights"]
    assert torch.allclose(shares.sum(dim=3), torch.ones(1, 4, 119), atol=1e-5)


def test_stages_are_called_alike():
    names = {name: [child for child, _ in on_meta(name).named_children()] for name in PARAMETERS}
    for name, stages in names.items():
        assert stages[0] == "front", name
        assert "body" in stages, name
        assert stages[-1] == "head", name
    assert names["short_chunk"] == ["front", "body", "top", "embedding", "dropout", "head"]
    assert names["short_chunk"] == names["harmonic_cnn"] == names["cnnsa"]
    keys = [key for key in on_meta("crnn").state_dict() if key.endswith("weight")]
    assert keys[:3] == ["front.norm.norm.weight", "body.1.conv.weight", "body.1.norm.weight"]
    residual = dict(on_meta("short_chunk_res").body[0].named_children())
    assert list(residual["shortcut"]._modules) == ["conv", "norm"]


def test_widths_scale_with_their_options():
    half = on_meta("fcn4", width=0.5)
    assert [block.conv.out_channels for block in half.body] == [64, 192, 384, 1024]
    narrow = [block.conv.out_channels for block in on_meta("short_chunk", channels=32).body]
    assert narrow == [32, 32, 64, 64, 64, 64, 128]
    assert zoo.entry("crnn").with_options(first=169, maps=339, units=169).paper == ()
    assert len(on_meta("cnnsa", layers=3).top.layers) == 3


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "cnnsa",
            {"heads": 7},
            "heads=7 cannot share the last block's 256 maps evenly; take a number that divides 256",
        ),
        ("fcn4", {"plan": "fcn5"}, "plan=fcn5: fcn4 has plan=fcn4; use the name that says so"),
        ("short_chunk", {"block": "residual"}, "short_chunk has block=plain; use the name that says so"),
        ("short_chunk", {"chanels": 64}, "short_chunk has no option 'chanels'; did you mean channels"),
        ("harmonic_cnn", {"harmonics": 7}, "harmonics=7 is outside 1 to 6"),
        ("crnn", {"init": "he"}, "init='he' is not one of keras, torch"),
        ("musicnn", {"middle": 0}, "middle=0 is outside 1 to 2048"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_with_why(name, options, words):
    with pytest.raises(zoo.ZooError, match=words):
        zoo.entry(name).with_options(**options)


def test_a_segment_of_another_length_is_refused():
    with pytest.raises(zoo.ZooError, match="segment has 59049 samples, crnn reads 349440"):
        on_meta("crnn")(torch.zeros(1, 59049, device="meta"))
