"""Front ends without learned filters: spectrograms, log-mel spectrograms, and how their scales are measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available
from torch.nn.functional import conv1d, pad

from zoo.errors import ZooError
from zoo.fast.matrices import product
from zoo.fast.spectra import goes_by_pieces, power_spectra
from zoo.fast.together import is_watched

__all__ = ["COMPRESSIONS", "LogMel", "Spectrogram", "calibrate", "full_precision"]


def _log10_of_ten(x: Tensor) -> Tensor:
    return torch.log10(1 + 10 * x)


def _log_of_ten_thousand(x: Tensor) -> Tensor:
    return torch.log(1 + 10_000 * x)


def _decibel(x: Tensor) -> Tensor:
    return 10 * torch.log10(x.clamp(min=1e-10))


# Functions with a name, for networks are pickled.
COMPRESSIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "log10(1+10x)": _log10_of_ten,
    "log(1+10000x)": _log_of_ten_thousand,
    "decibel": _decibel,
}


def full_precision(device: str) -> AbstractContextManager[object]:
    """A context without autocast on this kind of device: half precision has too few digits for spectrograms."""
    # The meta device, which only counts shapes, has none to switch off.
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext()


class Spectrogram(nn.Module):
    """|STFT|^power of a waveform: (batch, 1, samples) -> (batch, bins, frames), in full precision always.

    Hann window, frame i centred on sample i * hop, ends mirrored. bins = fft_samples // 2 + 1.
    window_samples: the window is centred in `fft_samples`, zeros around it.
    frames:         how many to keep, from the first; None keeps all.
    """

    window: Tensor
    basis: Tensor | None

    def __init__(
        self,
        fft_samples: int,
        window_samples: int,
        hop_samples: int,
        power: float,
        frames: int | None = None,
    ) -> None:
        super().__init__()
        self.fft_samples, self.window_samples, self.hop_samples = fft_samples, window_samples, hop_samples
        self.power, self.frames = power, frames
        # On the meta device a window would have torch import its compiler, for seconds.
        with torch.device("cpu"):
            window = torch.hann_window(window_samples)
        left = (fft_samples - window_samples) // 2
        window = pad(window, (left, fft_samples - window_samples - left))
        self.register_buffer("window", window.to(torch.get_default_device()), persistent=False)
        self.register_buffer("basis", None, persistent=False)

    def use_matrix(self) -> None:
        """Take the Fourier transform as a matrix product from now on: exported graphs hold no FFT."""
        time = torch.arange(self.fft_samples, dtype=torch.float64)
        angle = 2 * math.pi / self.fft_samples * torch.outer(time[: self.fft_samples // 2 + 1], time)
        waves = torch.cat([angle.cos(), angle.sin()]) * self.window.cpu().double()
        self.basis = waves.float().to(self.window.device).unsqueeze(1)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, bins, frames)."""
        with full_precision(wave.device.type):  # half precision has no FFT of 729 samples either
            wave = wave.float()
            pieces = self._by_pieces(wave, self.fft_samples // 2 + 1, lambda spectrum: spectrum)
            return self._magnitude(wave) ** self.power if pieces is None else pieces

    def through(self, wave: Tensor, rows: int, then: Callable[[Tensor], Tensor]) -> Tensor | None:
        """What comes of the spectrogram, by pieces: (batch, 1, samples) float32 -> (batch, rows, frames).

        then:    (bins, frames) -> (rows, frames).
        returns: None where it has to be there as a whole, or someone looks at it.
        """
        return None if is_watched(self) else self._by_pieces(wave, rows, then)

    def _by_pieces(self, wave: Tensor, rows: int, then: Callable[[Tensor], Tensor]) -> Tensor | None:
        if self.basis is not None or not goes_by_pieces(wave, self.window):
            return None
        form = self.window, self.window_samples, self.hop_samples, self.frames
        return power_spectra(wave, *form, rows, lambda squares: then(self._from_squares(squares).t()))

    def _from_squares(self, squares: Tensor) -> Tensor:
        if self.power == 2:
            return squares
        return squares.sqrt_() if self.power == 1 else squares.pow_(self.power / 2)

    def _magnitude(self, wave: Tensor) -> Tensor:
        if self.basis is not None:
            side = self.fft_samples // 2
            real, imaginary = conv1d(
                pad(wave, (side, side), mode="reflect"), self.basis, stride=self.hop_samples
            ).chunk(2, dim=1)
            return self._kept(torch.sqrt(real**2 + imaginary**2))
        spectrum = torch.stft(
            wave.squeeze(1),
            self.fft_samples,
            self.hop_samples,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return self._kept(spectrum).abs()

    def _kept(self, spectrum: Tensor) -> Tensor:
        # An even FFT gives one frame more than there are hops; the paper's odd one gives just enough.
        return spectrum[..., : self.frames]


class LogMel(nn.Module):
    """A log-mel spectrogram: (batch, 1, samples) -> (batch, bands, frames).

    compression(mel @ |STFT|^power); then, if it is standardised, minus `mean`, over `std`: 0 and 1 until
    `calibrate` measures them, and the only part that a checkpoint keeps.

    mel:         "slaney", his mel scale and triangles of equal area, or "htk", that scale and triangles of height 1.
    compression: one of COMPRESSIONS, x being the mel spectrum.
    standardise: "whole" has one mean and deviation, "band" one of each band, "none" leaves the values as they are.
    frozen:      `calibrate` leaves it alone: it belongs to a trained network inside another one.
    """

    frozen = False
    mean: Tensor
    std: Tensor
    filter_bank: Tensor

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        fft_samples: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        frames: int | None = None,
        power: float = 1.0,
        mel: str = "slaney",
        compression: str = "log10(1+10x)",
        standardise: str = "whole",
    ) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks  # a second to import; raw networks need none of it

        self.spectrogram = Spectrogram(fft_samples, window_samples, hop_samples, power, frames)
        self.compress = COMPRESSIONS[compression]
        self.standardise = standardise
        device = torch.get_default_device()
        # The filter bank looks at its own values, which the meta device has not.
        with torch.device("cpu"):
            bank = melscale_fbanks(
                fft_samples // 2 + 1,
                0.0,
                sample_rate_hz / 2,
                bands,
                sample_rate_hz,
                norm="slaney" if mel == "slaney" else None,
                mel_scale=mel,
            )
        self.register_buffer("filter_bank", bank.T.contiguous().to(device), persistent=False)
        if standardise != "none":
            scales = (bands, 1) if standardise == "band" else ()
            self.register_buffer("mean", torch.zeros(scales))
            self.register_buffer("std", torch.ones(scales))

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, bands, frames), standardised."""
        values = self.log_mel(wave)
        return values if self.standardise == "none" else (values - self.mean) / self.std

    def log_mel(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, bands, frames), as it is before the standardisation."""
        with full_precision(wave.device.type):
            wave = wave.float()
            values = self.spectrogram.through(wave, len(self.filter_bank), self._bands)
            return self.compress(self.filter_bank @ self.spectrogram(wave)) if values is None else values

    def _bands(self, spectrum: Tensor) -> Tensor:
        return self.compress(product(self.filter_bank, spectrum))


@torch.no_grad()
def calibrate(network: nn.Module, waves: Iterable[Tensor]) -> None:
    """Measure mean and deviation of a spectrogram front end over the training waves, once before training.

    The result replaces whatever was measured before. A network without such a front end is left alone, and
    then `waves` is not read.
    network: of `zoo.create`.
    waves:   batches (batch, samples) of training segments, float32 in [-1, 1]; streamed, held one at a time.
    raises:  ZooError if there are no waves, or if all are silent, so that there is no deviation.
    source:  scalars over the entire training input, Lee et al. 2017, §5.2.
    """
    for front in (layer for layer in network.modules() if isinstance(layer, LogMel)):
        if front.standardise != "none" and not front.frozen:
            _measure(front, waves)
            return  # one front end a network; `waves` may be an iterator that is spent now


def _measure(front: LogMel, waves: Iterable[Tensor]) -> None:
    axes = (0, 2) if front.standardise == "band" else (0, 1, 2)
    mean = torch.zeros(front.mean.shape, dtype=torch.float64, device=front.mean.device)
    count, scatter = 0, torch.zeros_like(mean)
    for wave in waves:
        values = front.log_mel(wave.to(front.mean.device).unsqueeze(1)).double()
        # Merged by their means (Chan et al. 1979): plain sums of squares cancel over millions of values.
        variance, its_mean = torch.var_mean(values, axes, correction=0)
        more, shift = values.numel() // its_mean.numel(), its_mean.reshape(mean.shape) - mean
        scatter += variance.reshape(mean.shape) * more + shift**2 * count * more / (count + more)
        mean += shift * more / (count + more)
        count += more
    if count == 0 or not (scatter > 0).any():
        raise ZooError(f"the spectrogram cannot be calibrated: {'silent' if count else 'no'} training waves")
    front.mean.copy_(mean)
    # A band in which nothing ever sounds stays as it is: there is no deviation to divide by.
    front.std.copy_(torch.where(scatter > 0, (scatter / count) ** 0.5, 1.0))
