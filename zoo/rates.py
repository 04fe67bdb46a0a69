"""From the sample rate of a data set to the one that a network reads, on whatever device the waves are."""

from __future__ import annotations

from math import gcd

from torch import Tensor, nn

from zoo.entry import Entry

__all__ = ["Resampler"]

# torchaudio's default filter leaves an alias of -13 dB; this one (64 zero crossings, Kaiser window) about -100 dB.
FILTER = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


class Resampler(nn.Module):
    """(batch, entry.samples_at(rate_hz)) at `rate_hz` -> (batch, entry.input_samples) at the network's own rate.

    Does nothing where the rates are the same.
    source: torchaudio's "kaiser best" setting.
    """

    def __init__(self, rate_hz: int, entry: Entry) -> None:
        super().__init__()
        self.input_samples = entry.input_samples
        self.transform: nn.Module = nn.Identity()
        if rate_hz != entry.sample_rate_hz:
            from torchaudio.transforms import Resample  # a second to import; equal rates need none of it

            common = gcd(rate_hz, entry.sample_rate_hz)
            self.transform = Resample(rate_hz // common, entry.sample_rate_hz // common, **FILTER)

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, input_samples)."""
        return self.transform(wave)[:, : self.input_samples]
