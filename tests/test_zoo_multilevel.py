"""The second stage over trained networks: what it reads of them, that they stay as they are, and what it refuses."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import zoo
from zoo.__main__ import main
from zoo.layers.frontends import LogMel
from zoo.multilevel import accept_untrained, load_bases

RAW, EVEN, MEL = "samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "melcnn_m3_n3_s27_w81"
SMALL = {"bases": f"{RAW}+{EVEN}+{MEL}", "layers": 2, "segments": 3, "hidden": 6}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return zoo.create("multilevel_raw", n_tags=4, **SMALL)


@pytest.fixture
def checkpoints(tmp_path):
    """Of the three bases, with weights and statistics that no fresh network has."""
    folders = []
    for i, name in enumerate((RAW, EVEN, MEL)):
        torch.manual_seed(10 + i)
        trained = zoo.create(name, n_tags=2, dropout=0.1)
        zoo.calibrate(trained, [torch.rand(4, trained.input_samples)])
        trained(torch.rand(4, trained.input_samples))
        zoo.save(trained.eval(), tmp_path / name, zoo.Card.of(trained, ["loud", "slow"]))
        folders.append(tmp_path / name)
    return folders


def test_a_clip_is_some_segments_of_the_longest_base():
    assert zoo.entry("multilevel_raw").input_samples == 10 * 59049
    assert zoo.entry("multilevel_mel").input_samples == 12 * 216 * 243
    assert zoo.entry("multilevel_raw").with_options(**SMALL).input_samples == 3 * 729
    assert all(zoo.entry(f"multilevel_{kind}").input_ms < 29_000 for kind in ("raw", "mel"))


def test_what_is_known_of_them_is_said_and_no_more():
    raw, mel = zoo.entry("multilevel_raw"), zoo.entry("multilevel_mel")
    assert [(row.table, row.dataset, row.auc, row.grade) for row in raw.paper] == [
        ("lee2017multi", "mtat", 0.9064, "G"),
        ("lee2017multi", "msd", 0.8842, "G"),
    ]
    assert (raw.certainty.grade, mel.certainty.grade, mel.paper) == ("G", "G", ())
    assert "1706.06810" in raw.source
    assert "1703.01793" in mel.source


def test_only_the_second_stage_is_counted_and_trained():
    raw, mel = (zoo.entry(f"multilevel_{kind}").cost().parameters for kind in ("raw", "mel"))
    top = sum((256 + 256 + 512, 256 + 256 + 512, 256 + 256 + 512))
    every = sum((128 + 128 + 256 + 512, 768, 128 * 2 + 256 * 3 + 512, 768, 768))
    for width, parameters in ((top, raw), (every, mel)):
        dense = width * 512 + 512 * 512 + 2 * 3 * 512  # a bias, and batch norm's scale and shift
        assert parameters == dense + 512 * 50 + 50


def test_gradients_reach_the_second_stage_alone_and_bases_do_not_move(network):
    accept_untrained(network)
    before = {name: value.clone() for name, value in network.bases.state_dict().items()}
    network.train()
    assert not any(layer.training for base in network.bases.values() for layer in base.modules())
    network(torch.randn(3, network.input_samples)).square().sum().backward()
    for name, parameter in network.named_parameters():
        frozen = name.startswith("bases.")
        assert parameter.requires_grad != frozen
        assert (parameter.grad is None) == frozen, name
    assert all(torch.equal(value, before[name]) for name, value in network.bases.state_dict().items())


def test_it_hears_maxima_in_segments_and_their_mean_over_segments(network, checkpoints):
    load_bases(network, checkpoints)
    network.eval()
    waves = torch.randn(2, network.input_samples)
    wanted = []
    for folder in checkpoints:
        base, _ = zoo.read(folder)
        length = base.input_samples
        segments = [waves[:, i : i + length] for i in range(0, waves.shape[1] - length + 1, length)]
        for level in (2, 3) if len(base.body) == 3 else (3, 4):
            found = [base.features(segment, [f"body.{level}"])[f"body.{level}"] for segment in segments]
            wanted.append(torch.stack([frames.amax(dim=2) for frames in found]).mean(dim=0))
    with torch.no_grad():
        heard = network.features(waves, ["bases"])["bases"]
        assert torch.allclose(heard, torch.cat(wanted, dim=1), atol=1e-5)
        assert torch.allclose(network(waves)[:1], network(waves[:1]), atol=1e-5)


def test_all_layers_are_read_where_none_are_counted():
    network = zoo.create("multilevel_raw", **{**SMALL, "bases": EVEN, "layers": 0})
    assert network.embedding[0].dense.in_features == 128 + 128 + 256 + 512


def test_a_checkpoint_holds_bases_and_all(network, checkpoints, tmp_path):
    load_bases(network, checkpoints)
    network.eval()
    zoo.save(network, tmp_path / "whole", zoo.Card.of(network, list("abcd")))
    again, card = zoo.read(tmp_path / "whole")
    assert card.options["bases"] == SMALL["bases"]
    wave = torch.rand(1, network.input_samples)
    with torch.no_grad():
        assert torch.equal(again(wave), network(wave))
    assert f"bases.{MEL}.before.front.mean" in again.state_dict()


def test_a_frozen_spectrogram_is_not_calibrated_again(network, checkpoints):
    load_bases(network, checkpoints)
    (front,) = (layer for layer in network.modules() if isinstance(layer, LogMel))
    assert front.std != 1
    before = front.std.clone()
    zoo.calibrate(network, [torch.randn(2, network.input_samples) * 9])
    assert torch.equal(front.std, before)


def test_bases_of_another_network_are_refused_and_nothing_changes(network, checkpoints):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    words = f"{EVEN} is {EVEN} for 22050 Hz; this base is {RAW} for 22050 Hz"
    with pytest.raises(zoo.ZooError, match=words):
        load_bases(network, [checkpoints[1], checkpoints[0], checkpoints[2]])
    with pytest.raises(zoo.ZooError, match=f"is {EVEN} for 22050 Hz; this base is {MEL}"):
        load_bases(network, [checkpoints[0], checkpoints[1], checkpoints[1]])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_base_of_another_rate_is_refused_by_name(network, checkpoints, tmp_path):
    other = zoo.create("dieleman_raw", n_tags=1, first=2)
    zoo.save(other, tmp_path / "other", zoo.Card.of(other, ["a"]))
    with pytest.raises(
        zoo.ZooError, match=f"other is dieleman_raw for 16000 Hz; this base is {RAW} for 22050"
    ):
        load_bases(network, [tmp_path / "other", *checkpoints[1:]])


def test_a_base_with_options_that_matter_is_refused(network, checkpoints, tmp_path):
    other = zoo.create(EVEN, n_tags=1, padding="torch", dropout=0.2)
    zoo.save(other, tmp_path / "other", zoo.Card.of(other, ["a"]))
    with pytest.raises(zoo.ZooError, match=r"with \{'padding': 'torch'\}; a base has its options as listed"):
        load_bases(network, [checkpoints[0], tmp_path / "other", checkpoints[2]])


def test_the_number_of_checkpoints_is_that_of_the_bases(network, checkpoints):
    words = f"2 checkpoints came, multilevel_raw has 3 bases; give one of each in this order: {RAW}, {EVEN}, {MEL}"
    with pytest.raises(zoo.ZooError, match=words):
        load_bases(network, checkpoints[:2])


@pytest.mark.parametrize("other", [zoo.create(RAW), nn.Linear(2, 2)], ids=["of the zoo", "of torch"])
def test_a_network_without_bases_cannot_be_filled(other):
    with pytest.raises(zoo.ZooError, match=f"({RAW}|Linear) has no bases; multilevel networks have"):
        load_bases(other, [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"bases": "samplecnn_m3_n9"},
            "bases: no network is called 'samplecnn_m3_n9'; did you mean samplecnn",
        ),
        ({"bases": ""}, "bases: no network is called ''"),
        ({"bases": 3}, "bases=3 is not a text"),
        ({"bases": f"{RAW}+{RAW}"}, f"bases: {RAW} is named twice"),
        ({"bases": "multilevel_raw"}, "bases: multilevel_raw is of this family itself"),
        (
            {"bases": f"{RAW}+dieleman_raw"},
            "bases: dieleman_raw reads 16000 Hz, multilevel networks hear 22050 Hz",
        ),
        (
            {"bases": "+".join(f"samplecnn_m2_n4_s{i}" for i in range(1, 10))},
            "9 networks were named, at most 8",
        ),
        ({"segments": 30}, "segments=30: a clip of 1771470 samples is longer than 60 s; ask for fewer"),
    ],
)
def test_bases_that_cannot_be_are_refused_with_why(options, words):
    with pytest.raises(zoo.ZooError, match=words):
        zoo.entry("multilevel_raw").with_options(**options)


def test_more_layers_than_a_body_has_are_refused():
    with pytest.raises(zoo.ZooError, match=f"layers=4: the body of {RAW} has 3; ask for fewer, or 0"):
        zoo.entry("multilevel_raw").with_options(**{**SMALL, "layers": 4})
    blocks = zoo.entry("multilevel_raw").with_options(bases="samplecnn_basic", layers=10)
    with pytest.raises(
        zoo.ZooError, match="layers=10: the body of samplecnn_basic has 9; ask for fewer, or 0"
    ):
        blocks.build()


def test_over_bases_that_were_never_loaded_nothing_is_learned_or_saved(network, checkpoints, tmp_path):
    wave = torch.zeros(2, network.input_samples)
    words = r"bases have fresh weights, .* fill them with zoo.load_bases\(network, checkpoints\), or say that"
    assert network.training
    with pytest.raises(zoo.ZooError, match=words):
        network(wave)
    card = zoo.Card.of(network, list("abcd"))
    with pytest.raises(zoo.ZooError, match=words):
        zoo.save(network, tmp_path / "whole", card)
    assert network.eval()(wave).shape == (2, 4)
    load_bases(network, checkpoints)
    zoo.save(network, tmp_path / "whole", card)
    assert zoo.create("multilevel_raw", n_tags=9, weights=tmp_path / "whole", **SMALL)(wave).shape == (2, 9)


def test_their_depth_and_reach_are_those_of_the_bases():
    raw, mel = zoo.entry("multilevel_raw"), zoo.entry("multilevel_mel")
    assert raw.depth == 1 + 12 + 2  # the first layer and the 12 modules of 2^12, two dense layers
    assert mel.depth == 6 + 2
    assert raw.receptive_field_samples == zoo.entry("samplecnn_m3_n9_s3").receptive_field_samples
    assert mel.receptive_field_samples == zoo.entry("melcnn_m6_n3_s243_w729").receptive_field_samples


def test_info_tells_what_no_training_moves(capsys):
    small = zoo.create("multilevel_raw", **SMALL)
    frozen = sum(p.numel() for p in small.parameters() if not p.requires_grad)
    assert small.entry.cost().frozen == frozen > 0
    assert main(["info", "multilevel_raw"]) == 0
    shown = capsys.readouterr().out
    assert "frozen          4,219,520 more, which no training moves" in shown
    assert "depth           15 layers and the dense head" in shown


def test_a_plan_over_them_needs_no_torch():
    script = (
        "import sys, zoo; e = zoo.entry('multilevel_raw').with_options(bases='samplecnn_m3_n3_s9'); "
        "print(e.input_samples, 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["2430", "False"]
