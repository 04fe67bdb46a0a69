"""m4a to a waveform, by PyAV: its wheel brings FFmpeg's libraries along, so nothing else needs to be installed."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from datasets.audio import MARGIN_SECONDS, resample
from datasets.errors import AudioError


def decode_m4a(path: Path, rate_hz: int, max_seconds: float) -> np.ndarray:
    """As datasets.audio.decode, of what the file has for sound."""
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    if not path.stat().st_size:
        raise AudioError(path, "empty", "the file has no bytes")
    wave, native_hz = _read_mono(path, max_seconds + MARGIN_SECONDS)
    wave = resample(wave, native_hz, rate_hz)[: round(max_seconds * rate_hz)]
    if not len(wave):
        raise AudioError(path, "empty", "it decodes to no samples")
    return np.ascontiguousarray(wave, dtype=np.float32)


def _read_mono(path: Path, most_seconds: float) -> tuple[np.ndarray, int]:
    """(samples,) float32 of the beginning, channels averaged, and their rate in Hz."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError(path, "undecodable", "no audio is found in it")
            stream = container.streams.audio[0]
            native_hz, parts, found = stream.rate, [np.empty(0, np.float32)], 0
            for frame in container.decode(stream):
                parts.append(_mixed(frame))
                found += len(parts[-1])
                if found >= most_seconds * native_hz:
                    break
    except (av.FFmpegError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise AudioError(path, "undecodable", f"{why[:1].lower()}{why[1:]}") from problem
    return np.concatenate(parts)[: math.ceil(most_seconds * native_hz)], native_hz


def _mixed(frame: Any) -> np.ndarray:
    """(samples,) float32 of one frame of a decoder, which for AAC and ALAC has a row for each channel."""
    channels = frame.to_ndarray()
    if np.issubdtype(channels.dtype, np.integer):
        channels = channels / np.float32(-float(np.iinfo(channels.dtype).min))
    if not frame.format.is_planar:
        channels = channels.reshape(-1, frame.layout.nb_channels).T
    return channels.mean(axis=0, dtype=np.float32)
