"""What filters answer to: the paper's procedure, and a layer whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo import probe
from zoo.filters import START, STEPS, answers, climb, layers_of, mel_curve_hz, samples_for, spectra

RATE_HZ = 22_050


def one_at_a_time(network: nn.Module, layer: str, start: torch.Tensor, which: int) -> np.ndarray:
    """The authors' loop for one filter: batch norm in training, on a single wave."""
    network.train()
    wave = start.clone().requires_grad_()
    for _ in range(STEPS):
        loss = network.features(wave[None], [layer])[layer][0, which].mean()
        (gradient,) = torch.autograd.grad(loss, wave)
        wave = (wave + gradient / (gradient.square().mean().sqrt() + 1e-9)).detach().requires_grad_()
        if loss <= 0:
            break
    found = wave.detach().numpy()
    return found - found.mean()


@pytest.mark.parametrize("layer", ["front.activation", "body.3.activation"])
def test_all_filters_climb_as_each_would_by_itself(layer: str) -> None:
    torch.manual_seed(0)
    # On the way a wave is turned about by each rounding, so it takes doubles to compare two ways.
    network = zoo.create("samplecnn_m3_n9_s3").double()
    waves = climb(network, layer, samples=729, seed=3)
    random = torch.Generator().manual_seed(3)
    noise = (torch.rand(len(waves), 729, generator=random) - 0.5) * START
    for which in (0, 17, 100):
        alone = one_at_a_time(network, layer, noise[which].double(), which)
        np.testing.assert_allclose(waves[which], alone, atol=1e-4)


def test_the_network_is_left_as_it_was() -> None:
    network = zoo.create("samplecnn_m3_n3_s81").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    answers(network, "body.1.activation")
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_band_passes_set_by_hand_answer_at_their_middle_frequencies() -> None:
    network = zoo.create("samplecnn_m3_n3_s243_w729")
    conv = network.get_submodule("front.conv")
    filters, _, width = conv.weight.shape
    middles_hz = np.linspace(500, 10_000, filters)
    times = np.arange(width) - width // 2
    waves = np.cos(2 * math.pi * middles_hz[:, None] / RATE_HZ * times) * np.hanning(width)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(waves[:, None].astype(np.float32)))
    found = answers(network, "front.activation", samples=5 * 729, centred=False)
    half_a_lobe_hz = 2 * RATE_HZ / width  # so far a Hann window as long as the filter lets neighbours through
    assert np.abs(found.peaks_hz - middles_hz).max() < half_a_lobe_hz
    assert found.order.tolist() == list(range(filters))
    # Of an odd number of samples no bin lies at half the rate
    np.testing.assert_allclose(found.frequencies_hz, np.fft.rfftfreq(5 * 729, 1 / found.sample_rate_hz))


def test_a_spectrum_is_that_of_librosas_one_centred_frame() -> None:
    wave = np.random.default_rng(0).normal(size=(1, 729)).astype(np.float32)
    window = torch.hann_window(729, dtype=torch.float64)
    heard = torch.stft(
        torch.from_numpy(wave).double(), 729, 729, 729, window, center=True, return_complex=True
    )
    expected = np.log10(1 + 10 * heard[0, :, 0].abs().numpy() ** 2)
    assert spectra(wave).shape == (1, 365)
    np.testing.assert_allclose(spectra(wave)[0], expected, rtol=1e-9)


def test_a_tone_is_found_where_it_is() -> None:
    times = np.arange(729) / RATE_HZ
    tones_hz = np.array([1_000.0, 5_000.0])
    waves = np.sin(2 * math.pi * tones_hz[:, None] * times).astype(np.float32)
    found = spectra(waves, centred=False).argmax(axis=1) * RATE_HZ / 729
    assert np.abs(found - tones_hz).max() <= RATE_HZ / 729 / 2


@pytest.mark.parametrize(
    ("network", "layer", "samples"),
    [
        ("samplecnn_m3_n9_s3", "front.activation", 729),
        ("samplecnn_m3_n9_s3", "body.5.activation", 729),
        ("samplecnn_m3_n9_s3", "body.6.activation", 3 * 729),
        ("samplecnn_m2_n14_s2", "body.3.activation", 736),  # 46 frames of 16 samples
        ("samplecnn_m3_n3_s729", "front.activation", 3 * 729),
    ],
)
def test_waves_are_as_long_as_the_layer_needs(network: str, layer: str, samples: int) -> None:
    assert samples_for(zoo.create(network), layer) == samples


def test_the_layers_are_those_of_the_papers_figure() -> None:
    known = layers_of(zoo.create("samplecnn_m3_n9_s3"))
    assert known[:6] == ["front.activation", *(f"body.{i}.activation" for i in range(1, 6))]


def test_the_mel_curve_bends_as_hearing_does() -> None:
    curve = mel_curve_hz(128, RATE_HZ)
    assert curve[0] == 0
    assert curve[-1] == pytest.approx(RATE_HZ / 2)
    assert (np.diff(curve, 2) > 0).all()


def test_a_wave_that_is_too_short_is_answered_in_a_line() -> None:
    with pytest.raises(zoo.ZooError, match="a wave makes 1 frame of a batch norm, which needs 2"):
        climb(zoo.create("samplecnn_m3_n9_s3"), "body.6.activation", samples=729)


def test_a_network_of_few_layers_is_drawn_to_the_last_that_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the top a wave makes one frame, and the six layers that are meant where nothing is said would end there."""
    assert probe.main(["network=samplecnn_m3_n3_s9", f"out={tmp_path}"]) == 0
    drawn = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert drawn == ["front.activation", *(f"body.{n}.activation" for n in (1, 2, 3))]
    assert (tmp_path / "spectra.png").is_file()


def test_the_command_writes_pictures_and_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["network=samplecnn_m3_n3_s81", "layers=1..2", f"out={tmp_path / 'out'}"]
    assert probe.main(words) == 0
    assert "front.activation: 128 filters, peaks from" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    each = {
        f"{layer}{end}"
        for layer in ("front.activation", "body.1.activation")
        for end in (".npz", ".waves.png", ".waves.svg")
    }
    assert names == each | {"spectra.png", "spectra.svg"}
    with np.load(tmp_path / "out" / "front.activation.npz") as arrays:
        assert arrays["waves"].shape == (128, 729)
        assert arrays["spectra"].shape == (128, 365)
    assert (
        b"kHz" in (tmp_path / "out" / "spectra.svg").read_bytes()
        or (tmp_path / "out" / "spectra.svg").stat().st_size
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "give out=FOLDER, and either model= or network="),
        (["network=x", "model=y", "out=z"], "give out=FOLDER, and either model= or network="),
        (
            ["network=samplecnn_m3_n3_s81", "out={}", "layers=9"],
            "has 5 layers with filters: front.activation",
        ),
        (["network=samplecnn_m3_n3_s81", "out={}", "layers=front.activatoin"], "no layer 'front.activatoin'"),
        (
            ["network=samplecnn_m3_n3_s81", "out={}", "layers=front.activation,bdy.1.activation"],
            "no layer 'bdy.1.activation'; did you mean body.1.activation",
        ),
        (
            ["network=samplecnn_m3_n3_s81", "out={}", "layers=3..2"],
            "layers=3..2: give 1..6, a number, or names",
        ),
        (
            ["network=samplecnn_m3_n3_s81", "out={}", "layers=5..6"],
            "makes 1 frame of a batch norm, which needs 2",
        ),
        (["layer=3"], "'layer=3' is no word of this command; did you mean layers"),
        (["network=samplecnn_m3_n3_s81", "out={}", "centred=maybe"], "centred=maybe: give true or false"),
        (["network=samplecnn_m3_n3_s81", "out={}", "seed=-1"], "seed=-1: give a whole number"),
    ],
)
def test_wrong_words_are_answered_in_a_line(
    words: list[str], answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([word.format(tmp_path) for word in words]) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1
    assert not list(tmp_path.rglob("*.npz"))
