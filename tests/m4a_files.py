"""m4a files of tones, written by FFmpeg's own encoder."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 44_100


def encoded(file: Path, channels: np.ndarray, codec: str) -> Path:
    """Write (channels, samples) float32 at 44.1 kHz by FFmpeg's own encoder."""
    with av.open(str(file), "w", format="ipod") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout="stereo" if len(channels) == 2 else "mono")
        planar = {"aac": "fltp", "alac": "s16p"}[codec]
        samples = channels if codec == "aac" else np.round(channels * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), planar, stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file


def tones(seconds: float = 2.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.stack([0.5 * np.sin(2 * np.pi * hz * times) for hz in (440, 1760)]).astype(np.float32)
