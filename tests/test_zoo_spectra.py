"""Spectrograms by pieces, against torch.stft."""

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import zoo
from zoo.fast import spectra, windows
from zoo.layers import frontends
from zoo.layers.frontends import LogMel, Spectrogram

# (transform, window): transformed, and where the window is short by products; odd and even, in the middle or beside it
FORMS = [
    (64, 1),
    (512, 512),
    (729, 729),
    (96, 40),
    (96, 32),
    (96, 31),
    (97, 32),
    (729, 243),
    (243, 81),
    (64, 2),
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_most", lambda width: 7)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """How pieces were transformed."""
    taken: set[str] = set()
    for name in ("_by_transform", "_by_products"):
        real = getattr(spectra, name)
        monkeypatch.setattr(spectra, name, lambda *given, n=name, real=real: (taken.add(n), real(*given))[1])
    return taken


def in_float64(wave: Tensor, fft_samples: int, window_samples: int, hop_samples: int, power: float) -> Tensor:
    window = torch.hann_window(window_samples, dtype=torch.float64)
    form = {"hop_length": hop_samples, "win_length": window_samples, "window": window}
    spectrum = torch.stft(wave[:, 0].double(), fft_samples, **form, center=True, return_complex=True)
    return spectrum.abs() ** power


def waves(clips: int, samples: int) -> Tensor:
    return torch.rand(clips, 1, samples, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("fft_samples", "window_samples"), FORMS)
@pytest.mark.parametrize("power", [1.0, 2.0, 1.5])
def test_a_spectrogram_is_that_of_torch(
    fft_samples: int, window_samples: int, power: float, ways: set[str]
) -> None:
    for clips, hop_samples in ((1, 40), (3, 111)):
        wave = waves(clips, 2000)
        found = Spectrogram(fft_samples, window_samples, hop_samples, power)(wave)
        wanted = in_float64(wave, fft_samples, window_samples, hop_samples, power)
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max() / wanted.max()) < 1e-6
    assert ways == {"_by_products" if 1 < window_samples <= fft_samples / 3 else "_by_transform"}


def test_the_first_frames_are_kept() -> None:
    wave = waves(2, 2000)
    whole, first = (Spectrogram(96, 32, 40, 1.0, frames)(wave) for frames in (None, 20))
    assert first.shape[2] == 20
    assert torch.equal(first, whole[..., :20])


@pytest.mark.parametrize(("fft_samples", "window_samples"), [(96, 96), (96, 32)])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_bands_are_those_of_the_whole_spectrogram(
    fft_samples: int, window_samples: int, power: float
) -> None:
    form = {"fft_samples": fft_samples, "window_samples": window_samples, "hop_samples": 40, "bands": 8}
    mel = LogMel(sample_rate_hz=8000, **form, power=power)
    wave = waves(3, 2000)
    found = mel(wave)
    # Someone looks at it, so it is there as a whole
    mel.spectrogram.register_forward_hook(lambda *given: None)
    torch.testing.assert_close(found, mel(wave), rtol=1e-5, atol=1e-6)


def test_the_spectrum_of_all_frames_is_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = zoo.create("melcnn_m3_n3_s27_w81").eval(), []
    real = frontends.power_spectra

    def watched(*given: object) -> Tensor:
        *form, then = given
        return real(*form, lambda squares: (seen.append(squares.shape), then(squares))[1])

    monkeypatch.setattr(frontends, "power_spectra", watched)
    with torch.inference_mode():
        network(torch.rand(2, network.input_samples))
    assert sum(frames for frames, _ in seen) == 2 * 27
    assert max(frames for frames, _ in seen) <= 7


def test_whoever_looks_at_the_spectrogram_sees_it() -> None:
    network = zoo.create("melcnn_m3_n3_s27_w81").eval()
    wave = torch.rand(2, network.input_samples)
    found = network.features(wave, ["front.spectrogram", "front"])
    wanted = in_float64(wave.unsqueeze(1), 729, 81, 27, 1.0)[..., :27]
    assert float((found["front.spectrogram"] - wanted).abs().max() / wanted.max()) < 1e-6
    torch.testing.assert_close(found["front"], network.front(wave.unsqueeze(1)), rtol=1e-5, atol=1e-5)


def test_waves_get_the_gradient_they_want() -> None:
    mel = LogMel(sample_rate_hz=8000, fft_samples=96, window_samples=32, hop_samples=40, bands=8)
    wave = waves(1, 500).requires_grad_()
    mel(wave).sum().backward()
    assert wave.grad is not None
    assert wave.grad.abs().sum() > 0
    with torch.no_grad():
        torch.testing.assert_close(mel(wave), mel(wave.detach()))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of torch.vmap, for torch.stft
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # of torch's own forward gradients
def test_another_precision_or_a_transformation_takes_torch_s_way(ways: set[str]) -> None:
    network = zoo.create("melcnn_m3_n3_s27_w81").eval()
    wave = torch.rand(2, network.input_samples)
    wanted = torch.vmap(lambda one: network(one.unsqueeze(0))[0])(wave)
    double = network.double()(wave.double())
    with forward_ad.dual_level():
        moved = network.float()(forward_ad.make_dual(wave, torch.ones_like(wave)))
        assert forward_ad.unpack_dual(moved).tangent is not None
    assert ways == set()
    torch.testing.assert_close(network.float()(wave), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(double.float(), wanted, rtol=1e-4, atol=1e-5)
    assert ways == {"_by_products"}
