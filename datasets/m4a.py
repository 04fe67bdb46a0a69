"""m4a to a waveform, by PyAV: its wheel brings FFmpeg's libraries along, so nothing else needs to be installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import AudioError

SUFFIX = ".m4a"
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,aac"  # a list of other files, for one, is no song, whatever its name is
MARK = slice(4, 8)  # where such a file says b"ftyp"


def is_m4a(path: Path) -> bool:
    """Whether a file is one by its name or, as a song that came without its name, by how it begins."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            return file.read(MARK.stop)[MARK] == b"ftyp"
    except OSError:  # whoever decodes it will say why
        return False


def frames(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """What the file has for sound, piece by piece.

    yields: (samples,) float32, channels averaged, and their rate in Hz.
    raises: AudioError, also when the piece is asked for that shows it.
    """
    import av

    try:
        with av.open(str(path), options={"format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise AudioError(path, "undecodable", "no audio is found in it")
            stream = container.streams.audio[0]
            for frame in container.decode(stream):
                yield _mixed(frame), stream.rate
    except AudioError:
        raise
    except (av.FFmpegError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise AudioError(path, "undecodable", f"{why[:1].lower()}{why[1:]}") from problem


def _mixed(frame: Any) -> np.ndarray:
    """(samples,) float32 of one frame of a decoder, which for AAC and ALAC has a row for each channel."""
    channels = frame.to_ndarray()
    if np.issubdtype(channels.dtype, np.integer):
        channels = channels / np.float32(-float(np.iinfo(channels.dtype).min))
    if not frame.format.is_planar:
        channels = channels.reshape(-1, frame.layout.nb_channels).T
    return channels.mean(axis=0, dtype=np.float32)
