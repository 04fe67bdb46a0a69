"""Spectrograms on a processor, by pieces of frames that stay in the cache.

torch.stft holds the complex spectrum of all frames, turns it round, and takes magnitudes by hypot: passes over memory
that take longer than the transform itself. And where a window is short beside the transform, most of what is
transformed are zeros; there it is two products of matrices, of half its samples each: around its middle a window is the
same on both sides, so a cosine meets sums of two samples, and a sine differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from zoo.fast.matrices import product
from zoo.fast.together import is_transformed
from zoo.fast.windows import pieces_of_clips

__all__ = ["goes_by_pieces", "power_spectra"]

SHORT = 3  # times in the transform, or more; longer windows are quicker transformed


def goes_by_pieces(wave: Tensor, window: Tensor) -> bool:
    """Whether `power_spectra` can be had of it: on a processor, in float32, where no gradient is wanted."""
    return (
        type(wave) is Tensor
        and wave.device.type == window.device.type == "cpu"
        and wave.dtype == window.dtype == torch.float32
        and not (wave.requires_grad and torch.is_grad_enabled())
        and not is_transformed()
    )


def power_spectra(
    wave: Tensor,
    window: Tensor,
    window_samples: int,
    hop_samples: int,
    frames: int | None,
    rows: int,
    then: Callable[[Tensor], Tensor],
) -> Tensor:
    """What comes of |STFT|^2, which is never there as a whole: (batch, 1, samples) -> (batch, rows, frames).

    window:  a periodic Hann window of `window_samples`, in the middle of as many samples as the transform has.
    frames:  how many to keep, from the first; None keeps all. Frame i is centred on sample i * hop, ends mirrored.
    then:    (frames, bins) of a piece, which it may overwrite -> (rows, frames).
    """
    side = len(window) // 2
    seen = pad(wave, (side, side), mode="reflect")[:, 0].unfold(1, len(window), hop_samples)[:, :frames]
    is_short = 1 < window_samples <= len(window) // SHORT
    squares = _by_products if is_short else _by_transform
    result = wave.new_empty(len(seen), rows, seen.shape[1])
    for clip, some in pieces_of_clips(seen):
        result[clip, :, some] = then(squares(seen[clip, some], window, window_samples))
    return result


def _by_transform(seen: Tensor, window: Tensor, window_samples: int) -> Tensor:
    spectrum = torch.fft.rfft(seen * window)
    return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)


def _by_products(seen: Tensor, window: Tensor, window_samples: int) -> Tensor:
    cosines, sines, early, late = _waves(len(window), window_samples)
    before, after = seen[:, early : early + len(cosines)].flip(1), seen[:, late : late + len(cosines)]
    real = product(after + before, cosines)
    imaginary = product(torch.sub(after, before, out=before), sines)
    return real.square_().addcmul_(imaginary, imaginary)


@lru_cache(maxsize=8)
def _waves(fft_samples: int, window_samples: int) -> tuple[Tensor, Tensor, int, int]:
    """Windowed cosines and sines of every bin from the middle of the window on, (samples, bins) each.

    And where samples begin that lie before the middle and after it. One in the middle is in both, and counts half.
    """
    first = (fft_samples - window_samples) // 2 + 1  # a periodic Hann window begins with zero
    last = first + window_samples - 2
    late = (first + last + 1) // 2
    away = torch.arange(late, last + 1, dtype=torch.float64, device="cpu") - (first + last) / 2
    height = 0.5 + 0.5 * (2 * math.pi / window_samples * away).cos()
    height[away == 0] /= 2
    bins = torch.arange(fft_samples // 2 + 1, dtype=torch.float64, device="cpu")
    angles = 2 * math.pi / fft_samples * torch.outer(away, bins)
    cosines, sines = ((wave * height.unsqueeze(1)).float() for wave in (angles.cos(), angles.sin()))
    return cosines, sines, first, late
