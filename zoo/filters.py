"""What the filters of a layer answer to: waves found by gradient ascent, and their spectra.

source: Lee et al. 2017, section 5.5, Figures 2 and 3, and the authors' script for what the paper leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import instance_norm
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import ZooError
from zoo.network import WaveNetwork

__all__ = ["Answers", "answers", "climb", "climbable", "layers_of", "mel_curve_hz", "samples_for", "spectra"]

STEPS = 18
START = 0.03  # the first wave is uniform noise of this peak to peak, as loud as a quiet hiss
SAMPLES = 729  # the paper's, which give the sixth layer of samplecnn_m3_n9_s3 three frames
AT_ONCE = 64  # filters whose waves climb side by side
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Answers:
    """What each filter of a layer answers to.

    waves:   (filters, samples) float32, without their mean.
    spectra: (filters, bins) float64, log10(1 + 10 |X|^2) from 0 Hz to half the rate.
    order:   (filters,) the filters by the frequency of their highest bin.
    """

    layer: str
    sample_rate_hz: int
    waves: NDArray[np.float32]
    spectra: NDArray[np.float64]

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """(bins,) the middle of each bin."""
        return np.arange(self.spectra.shape[1]) * (self.sample_rate_hz / self.waves.shape[1])

    @property
    def peaks_hz(self) -> NDArray[np.float64]:
        """(filters,) where each spectrum is highest."""
        return self.frequencies_hz[self.spectra.argmax(axis=1)]

    @property
    def order(self) -> NDArray[np.intp]:
        return np.argsort(self.peaks_hz, kind="stable")


def layers_of(network: WaveNetwork) -> list[str]:
    """The layers that filters are looked at in, in order: after batch norm and non-linearity, before the pooling."""
    return [name for name, _ in network.named_modules() if name.rpartition(".")[2] == "activation"]


def climbable(network: WaveNetwork) -> dict[str, int]:
    """Those of `layers_of` whose batch norm has two frames to go by, and how many filters each has."""
    layers = layers_of(network)
    if not layers:
        return {}
    trains = network.training
    with torch.inference_mode():
        given = network.eval().features(_silence(network, 1, network.input_samples), layers)
    network.train(trains)
    return {layer: out.shape[1] for layer, out in given.items() if out[0, 0].numel() > 1}


def answers(
    network: WaveNetwork,
    layer: str,
    samples: int | None = None,
    centred: bool = True,
    seed: int = 0,
    done: Callable[[int], None] = lambda filters: None,
) -> Answers:
    """Waves and spectra of all filters of a layer.

    layer:   a name out of `layers_of`, or any other of the network. samples: of each wave; None as `samples_for`.
    centred: see `spectra`. done: hears how many more filters have been climbed, at each step; it may raise to end it.
    raises:  ZooError for an unknown layer, or for samples that are too few for it.
    """
    waves = climb(network, layer, samples or samples_for(network, layer), seed, done)
    return Answers(layer, network.sample_rate_hz, waves, spectra(waves, centred))


def samples_for(network: WaveNetwork, layer: str) -> int:
    """How long a wave the layer needs: the paper's 729 samples, or more where they would make less than 3 frames."""
    whole = network.input_samples
    with torch.inference_mode(), _each_by_itself(network):
        frames = network.features(_silence(network, 1, whole), [layer])[layer].shape[-1]
    hop = max(round(whole / frames), 1)
    return min(max(-(-SAMPLES // hop), 3) * hop, whole)


def climb(
    network: WaveNetwork,
    layer: str,
    samples: int = SAMPLES,
    seed: int = 0,
    done: Callable[[int], None] = lambda filters: None,
) -> NDArray[np.float32]:
    """(filters, samples): noise that was changed in 18 steps along the gradient of each filter's mean output.

    The gradient is divided by its root mean square before each step of length 1. Batch norm takes its statistics from
    each wave alone, as it does in the authors' training phase with one wave at a time; here all filters climb side by
    side and don't hear each other. A wave whose filter gives nothing at all stops.
    The network is left as it was.
    """
    with _each_by_itself(network):
        with torch.inference_mode():
            filters = network.features(_silence(network, 1, samples), [layer])[layer].shape[1]
        random = torch.Generator().manual_seed(seed)
        noise = (torch.rand(filters, samples, generator=random) - 0.5) * START
        found = []
        for chosen in torch.arange(filters).split(AT_ONCE):
            found.append(_climb(network, layer, noise[chosen], chosen, done))
            done(len(chosen))
    waves = torch.cat(found)
    return (waves - waves.mean(dim=1, keepdim=True)).float().numpy()


def _climb(
    network: WaveNetwork, layer: str, noise: Tensor, chosen: Tensor, done: Callable[[int], None]
) -> Tensor:
    """The waves of some filters. noise: (chosen, samples). chosen: their numbers in the layer."""
    first = next(network.parameters())
    waves = noise.to(first.device, first.dtype).requires_grad_()
    climbing = torch.ones(len(waves), 1, dtype=torch.bool, device=waves.device)
    for _ in range(STEPS):
        done(0)
        given = network.features(waves, [layer])[layer].flatten(2).mean(dim=2)
        score = given[torch.arange(len(chosen)), chosen.to(given.device)]
        (gradient,) = torch.autograd.grad(score.sum(), waves)
        gradient /= gradient.square().mean(dim=1, keepdim=True).sqrt() + TINY
        waves = (waves + gradient * climbing).detach().requires_grad_()
        climbing &= (score > 0).unsqueeze(1)
    return waves.detach().cpu()


def spectra(waves: NDArray[np.float32], centred: bool = True) -> NDArray[np.float64]:
    """log10(1 + 10 |X|^2) of each wave under one Hann window of its length; (filters, samples // 2 + 1).

    centred: as the authors' script has it, the window stands over the first sample, with the wave mirrored before it;
             the second half of the wave is then not heard. False sets it over the whole wave.
    """
    samples = waves.shape[1]
    if centred:
        half = samples // 2
        waves = np.pad(waves, ((0, 0), (half, half)), mode="reflect")[:, :samples]
    window = np.hanning(samples + 1)[:-1]
    return np.log10(1 + 10 * np.abs(np.fft.rfft(waves * window, axis=1)) ** 2)


def mel_curve_hz(filters: int, sample_rate_hz: int) -> NDArray[np.float64]:
    """(filters,) frequencies evenly spaced in mel from 0 Hz to half the rate: what hearing would make of the order."""
    highest = 2595 * np.log10(1 + sample_rate_hz / 2 / 700)
    return 700 * (10 ** (np.linspace(0, highest, filters) / 2595) - 1)


def _silence(network: WaveNetwork, waves: int, samples: int) -> Tensor:
    first = next(network.parameters())
    return torch.zeros(waves, samples, device=first.device, dtype=first.dtype)


@contextmanager
def _each_by_itself(network: nn.Module) -> Iterator[None]:
    """Batch norm of each wave by the wave's own statistics, and no dropout; all is as before when this ends."""

    def alone(layer: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        values = inputs[0]
        if values[0, 0].numel() < 2:
            raise ZooError(f"a wave makes {values[0, 0].numel()} frame of a batch norm, which needs 2")
        return instance_norm(values, weight=layer.weight, bias=layer.bias, eps=layer.eps)

    trains = network.training
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    hooks = [layer.register_forward_hook(alone) for layer in norms]
    network.eval()
    try:
        yield
    finally:
        network.train(trains)
        for hook in hooks:
            hook.remove()
