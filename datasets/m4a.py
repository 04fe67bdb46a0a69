"""m4a to a waveform, where torchcodec and ffmpeg's libraries happen to be installed; nothing here needs them."""

import importlib
from pathlib import Path

import numpy as np

from datasets.audio import MARGIN_SECONDS
from datasets.errors import AudioError


def decode_m4a(path: Path, rate_hz: int, max_seconds: float) -> np.ndarray:
    """As datasets.audio.decode; AudioError says what to install where nothing can read m4a."""
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    if not path.stat().st_size:
        raise AudioError(path, "empty", "the file has no bytes")
    try:
        decoders = importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as problem:
        how = "m4a needs torchcodec (0.13.0 runs without CUDA) and ffmpeg's libraries; or convert it to flac"
        raise AudioError(path, "undecodable", how) from problem
    try:
        decoder = decoders.AudioDecoder(str(path))
        samples = decoder.get_samples_played_in_range(0.0, max_seconds + MARGIN_SECONDS)
    except (RuntimeError, ValueError, OSError) as problem:
        why = str(problem).strip().splitlines() or ["no audio is found in it"]
        raise AudioError(path, "undecodable", why[0]) from problem
    wave = samples.data.mean(dim=0).numpy()
    if samples.sample_rate != rate_hz:
        import soxr

        wave = soxr.resample(wave, samples.sample_rate, rate_hz, quality="HQ")
    wave = wave[: round(max_seconds * rate_hz)]
    if not len(wave):
        raise AudioError(path, "empty", "it decodes to no samples")
    return np.ascontiguousarray(wave, dtype=np.float32)
