"""Layers that are only asked on a processor, as products of matrices, against the layers one after the other."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import zoo
from zoo.fast import asked, windows
from zoo.fast.asked import AskedBlock, AskedStart
from zoo.layers.tower import ConvBlock, same_pad
from zoo.multilevel import accept_untrained
from zoo.trained.folded import folded

EXACT = 1e-12


class Tower(nn.Module):
    """A first layer, as long as its filters, and blocks of m frames behind it."""

    def __init__(self, m: int, padding: str, samples: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pad = same_pad(m, padding)
        self.front = ConvBlock(1, 5, samples, stride=samples)
        self.front.next_block = (m, pad[0])
        blocks = [
            ConvBlock(before, width, m, pad=pad, pool=m)
            for before, width in zip((5, *widths), widths, strict=False)
        ]
        self.body = nn.Sequential(*blocks)
        self.top = ConvBlock(widths[-1], widths[-1], 1)

    def forward(self, wave: Tensor) -> Tensor:
        return self.top(self.body(self.front(wave)))


def with_past(network: nn.Module) -> nn.Module:
    """In float64 and evaluation, norms that have seen something, scales of both signs and one of zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                layer.weight.normal_()
                layer.weight[0] = 0
                layer.bias.normal_()
    return network.double().eval()


def asked_of(network: nn.Module, wave: Tensor) -> tuple[Tensor, Tensor]:
    """What its form for asking gives, and what it gives itself."""
    with torch.inference_mode():
        return folded(network)(wave), network(wave)


def steps(network: nn.Module) -> list[str]:
    return [type(it).__name__ for it in network.modules() if isinstance(it, AskedBlock | AskedStart)]


@pytest.fixture(params=["whole", "by pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How frames of the first layer are made; in many small pieces where they are."""
    monkeypatch.setattr(asked, "FEWEST_FRAMES", 1 if request.param == "by pieces" else 1 << 30)
    monkeypatch.setattr(windows, "_most", lambda width: max(2, 60 // width))
    return request.param


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["theano", "torch"])
@pytest.mark.parametrize("samples", [2, 9])
def test_all_of_a_tower_is_its_layers(m: int, padding: str, samples: int, pieces: str) -> None:
    network = with_past(Tower(m, padding, samples, (4, 6, 3)))
    assert steps(folded(network)) == ["AskedStart", *["AskedBlock"] * 4], (
        "the last one is the 1x1 convolution"
    )
    for clips in (1, 3):
        found, wanted = asked_of(network, torch.randn(clips, 1, m**3 * 2 * samples, dtype=torch.float64))
        assert found.shape == wanted.shape == (clips, 3, 2)
        torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)


def test_samples_that_fill_no_frame_are_left_out(pieces: str) -> None:
    network = with_past(Tower(3, "theano", 4, (4, 6)))
    found, wanted = asked_of(network, torch.randn(2, 1, 9 * 4 + 3, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("frames", [10, 11])
def test_frames_that_fill_no_pool_go_by_layers(frames: int, pieces: str) -> None:
    for padding in ("theano", "torch"):
        network = with_past(Tower(4, padding, 3, (4,)))
        found, wanted = asked_of(network, torch.randn(2, 1, frames * 3, dtype=torch.float64))
        torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)


def test_whoever_wants_a_gradient_gets_it(pieces: str) -> None:
    network = with_past(Tower(3, "theano", 3, (4, 6)))
    gradients = []
    for asking in (folded(network), network):
        wave = torch.linspace(-1, 1, 2 * 27, dtype=torch.float64).view(2, 1, 27).requires_grad_()
        asking(wave).sin().sum().backward()
        gradients.append(wave.grad)
    torch.testing.assert_close(*gradients, rtol=EXACT, atol=EXACT)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # of torch's own forward gradients
def test_transformed_programs_see_the_layers(pieces: str) -> None:
    asking = folded(with_past(Tower(3, "theano", 3, (4, 6))))
    wave = torch.randn(3, 1, 27 * 3, dtype=torch.float64)
    wanted = asking(wave)
    torch.testing.assert_close(
        torch.vmap(lambda one: asking(one[None])[0])(wave), wanted, rtol=EXACT, atol=EXACT
    )
    with forward_ad.dual_level():
        moved = asking(forward_ad.make_dual(wave, torch.ones_like(wave)))
        assert forward_ad.unpack_dual(moved).tangent is not None


def test_numbers_that_are_none_stay_where_they_were_heard(pieces: str) -> None:
    network = with_past(Tower(3, "theano", 3, (4, 6)))
    wave = torch.randn(3, 1, 81 * 3, dtype=torch.float64)
    wave[1, 0, 100], wave[2, 0, 200] = float("nan"), float("inf")
    found, wanted = asked_of(network, wave)
    assert [bool(clip.isfinite().all()) for clip in wanted] == [True, False, False]
    torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT, equal_nan=True)


@pytest.mark.parametrize(
    "name", ["samplecnn_m3_n5_s3", "samplecnn_m2_n8_s2", "samplecnn_m3_n3_s27_w81", "melcnn_m3_n3_s27_w81"]
)
def test_networks_by_name_in_float32(name: str, pieces: str) -> None:
    network = with_past(zoo.create(name, n_tags=4)).float()
    waves = torch.rand(3, network.input_samples) * 2 - 1
    found, wanted = asked_of(network, waves)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    # A mel spectrogram and filters that overlap are no first layer of the kind
    assert ("AskedStart" in steps(folded(network))) == ("_w" not in name)


def test_networks_under_a_second_stage_are_asked_so_too(pieces: str) -> None:
    small = {"bases": "samplecnn_m3_n4_s9", "layers": 2, "segments": 3}
    network = zoo.create("multilevel_raw", n_tags=4, **small)
    accept_untrained(network)
    network = with_past(network)
    assert steps(folded(network))[0] == "AskedStart"
    found, wanted = asked_of(network, torch.randn(2, network.input_samples, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=EXACT, atol=EXACT)


def test_the_network_itself_keeps_its_layers() -> None:
    network = with_past(Tower(3, "theano", 3, (4, 6)))
    before = deepcopy(network.state_dict())
    asking = folded(network)
    asking.body[1].conv.taps.zero_()
    assert not steps(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Floats of each run of frames that was laid somewhere."""
    made: list[int] = []
    real = windows.Windows.empty.__func__  # type: ignore[attr-defined]

    def empty(cls: type, clips: int, frames: int, channels: int, m: int, like: Tensor) -> windows.Windows:
        made.append(clips * frames * channels)
        return real(cls, clips, frames, channels, m, like)

    monkeypatch.setattr(windows.Windows, "empty", classmethod(empty))
    return made


def test_the_frames_of_a_first_layer_are_never_all_in_memory(rooms: list[int]) -> None:
    network = zoo.create("samplecnn_m3_n8_s9").eval()
    asking = folded(network)
    with torch.inference_mode():
        asking(torch.rand(2, network.input_samples))
    assert max(rooms) == 2 * 3**7 * 128, "what the first block gives of both clips"
