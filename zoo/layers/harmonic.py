"""The harmonic front end: for every band of a spectrogram, the bands of its overtones lie above it as channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.layers.frontends import COMPRESSIONS, Spectrogram, full_precision

__all__ = ["HarmonicFilters", "HarmonicFront", "band_centres"]

LOWEST_MIDI = 24  # C1, 32.7 Hz
BANDS_PER_SEMITONE = 2
# Bandwidth of a band at f Hz: Glasberg and Moore's line through the ear's, 0.1079 f + 24.7, over the quality.
SLOPE, FLOOR_HZ = 0.1079, 24.7


def band_centres(sample_rate_hz: int, harmonics: int) -> Tensor:
    """Centres of the lowest harmonic's bands in Hz, float64: half semitones from C1 up.

    The last one is below the note nearest to the pitch whose highest harmonic meets half the sample rate: 128 bands at
    16 kHz with 6 harmonics.
    """
    highest_midi = round(69 + 12 * math.log2(sample_rate_hz / (2 * harmonics) / 440))
    bands = (highest_midi - LOWEST_MIDI) * BANDS_PER_SEMITONE
    midi = LOWEST_MIDI + torch.arange(bands, dtype=torch.float64, device="cpu") / BANDS_PER_SEMITONE
    return 440 * 2 ** ((midi - 69) / 12)


class HarmonicFilters(nn.Module):
    """Triangles around the multiples of every band's centre, as wide as one learned number says.

    quality: that number; twice as high, every triangle is half as wide. It begins as 1.
    source:  Won et al., Data-Driven Harmonic Filters for Audio Representation Learning, ICASSP 2020.
    """

    centres: Tensor
    bins: Tensor

    def __init__(self, sample_rate_hz: int, bins: int, harmonics: int) -> None:
        super().__init__()
        self.harmonics = harmonics
        self.quality = nn.Parameter(torch.ones(1))
        lowest, device = band_centres(sample_rate_hz, harmonics), torch.get_default_device()
        centres = torch.cat([lowest * number for number in range(1, harmonics + 1)])
        bins_hz = torch.linspace(0, sample_rate_hz / 2, bins, device="cpu")
        self.register_buffer("centres", centres.float().unsqueeze(1).to(device), persistent=False)
        self.register_buffer("bins", bins_hz.to(device), persistent=False)

    def filter_bank(self) -> Tensor:
        """Height of each triangle at each bin, at most 1: (harmonics * bands, bins)."""
        width = (SLOPE * self.centres + FLOOR_HZ) / self.quality
        return torch.relu(1 - 2 * (self.bins - self.centres).abs() / width)

    def forward(self, spectrum: Tensor) -> Tensor:
        """(batch, bins, frames) -> (batch, harmonics, bands, frames)."""
        return (self.filter_bank() @ spectrum).unflatten(1, (self.harmonics, -1))


class HarmonicFront(nn.Module):
    """Spectrogram, harmonic filters, decibels, batch norm: (batch, 1, samples) -> (batch, harmonics, bands, frames)."""

    def __init__(self, sample_rate_hz: int, fft_samples: int, hop_samples: int, harmonics: int) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(fft_samples, fft_samples, hop_samples, power=2.0)
        self.filters = HarmonicFilters(sample_rate_hz, fft_samples // 2 + 1, harmonics)
        self.compress = COMPRESSIONS["decibel"]
        self.norm = nn.BatchNorm2d(harmonics)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, harmonics, bands, frames)."""
        return self.norm(self.decibels(wave))

    def decibels(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, harmonics, bands, frames), before the norm."""
        spectrum = self.spectrogram(wave)
        with full_precision(wave.device.type):
            return self.compress(self.filters(spectrum))
