"""Front ends with measured scales: the log-mel spectrogram, and how its mean and deviation are taken."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available

from zoo.errors import ZooError

__all__ = ["LogMel", "calibrate"]


class LogMel(nn.Module):
    """A standardised log-mel spectrogram: (batch, 1, samples) -> (batch, bands, frames).

    log10(1 + 10 * mel @ |STFT|), Hann window, Slaney's mel scale and area norm, frame i centred on sample
    i * hop, ends mirrored; then minus `mean`, over `std`. Both are scalars (0 and 1 until `calibrate`) and
    the only part that a checkpoint keeps: window and filter bank follow from the settings.

    fft_samples:    the window is centred in so many samples, zeros around it.
    frames:         how many to keep, from the first.
    source:         Lee et al. 2017, §5.2; the formula as in the author's later code.
    """

    mean: Tensor
    std: Tensor
    window: Tensor
    filter_bank: Tensor

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        fft_samples: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        frames: int,
    ) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks  # a second to import; raw networks need none of it

        self.fft_samples, self.window_samples, self.hop_samples = fft_samples, window_samples, hop_samples
        self.frames = frames
        device = torch.get_default_device()
        # The filter bank looks at its own values, which the meta device has not; and a window made there has
        # torch import its compiler, for seconds.
        with torch.device("cpu"):
            window = torch.hann_window(window_samples)
            bank = melscale_fbanks(
                fft_samples // 2 + 1,
                0.0,
                sample_rate_hz / 2,
                bands,
                sample_rate_hz,
                norm="slaney",
                mel_scale="slaney",
            )
        self.register_buffer("window", window.to(device), persistent=False)
        self.register_buffer("filter_bank", bank.to(device), persistent=False)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, bands, frames), standardised."""
        return (self.log_mel(wave.squeeze(1)) - self.mean) / self.std

    def log_mel(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, bands, frames), as it is before the standardisation."""
        from torchaudio.functional import spectrogram

        device = wave.device.type
        autocast = is_autocast_available(device)  # the meta device, which only counts shapes, has none
        # Half precision has no FFT of 729 samples and too few digits for a sum of 365 bins.
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            magnitude = spectrogram(
                wave.float(),
                pad=0,
                window=self.window,
                n_fft=self.fft_samples,
                hop_length=self.hop_samples,
                win_length=self.window_samples,
                power=1.0,
                normalized=False,
                center=True,
                pad_mode="reflect",
            )
            # An even FFT gives one frame more than there are hops; the paper's odd one gives just enough.
            mel = self.filter_bank.T @ magnitude[..., : self.frames]
            return torch.log10(1 + 10 * mel)


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
        count, mean, scatter = 0, 0.0, 0.0
        for wave in waves:
            values = front.log_mel(wave.to(front.mean.device)).double()
            # Merged by their means (Chan et al. 1979): plain sums of squares cancel over millions of values.
            more, shift = values.numel(), values.mean().item() - mean
            scatter += values.var(correction=0).item() * more + shift**2 * count * more / (count + more)
            mean += shift * more / (count + more)
            count += more
        if count == 0 or scatter <= 0:
            raise ZooError(
                f"the spectrogram cannot be calibrated: {'silent' if count else 'no'} training waves"
            )
        front.mean.fill_(mean)
        front.std.fill_((scatter / count) ** 0.5)
        return  # one front end a network; `waves` may be an iterator that is spent now
