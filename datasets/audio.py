"""Any audio file to a mono waveform at the rate asked for: whole, or block after block."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets import m4a
from datasets.errors import AudioError, DatasetError
from datasets.quiet import quiet_decoder

if TYPE_CHECKING:
    import soundfile

# What is built, tagged and offered in the browser; a file that is named by hand is tried whatever its name.
SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64")
# The resampler's filter looks ahead: so much more than the cut is decoded that its end is not an edge.
MARGIN_SECONDS = 0.1
MOST_SAMPLES = 2**32  # 16 GiB as float32: a header claiming more is damaged, and must not cost the memory
# Of all channels, before and after resampling: 1 MiB. Larger ones are mapped and zeroed anew by the allocator.
BLOCK_SAMPLES = 2**18


def decode(path: str | Path, rate_hz: int, max_seconds: float | None = None) -> np.ndarray:
    """Waveform of an audio file, channels averaged.

    path:        of one of SUFFIXES, of any rate and number of channels.
    rate_hz:     rate wanted; other rates go through soxr's HQ resampler (aliases below -130 dB, where
                 torchaudio's default leaves a 12 kHz tone at -13 dB after 44.1 to 22.05 kHz).
    max_seconds: cut to the first so many seconds, and decode little more than that.
    returns:     (samples,) float32; full scale is 1, and a lossy decoder's peaks may pass it.
    raises:      AudioError (missing, empty, undecodable) naming the file and why.
    """
    if rate_hz < 1:
        raise DatasetError(f"rate_hz={rate_hz}: a rate is at least 1 Hz")
    wave, native_hz = _read_mono(Path(path), max_seconds)
    wave = resample(wave, native_hz, rate_hz)
    if max_seconds is not None:
        wave = wave[: round(max_seconds * rate_hz)]
    if not len(wave):
        raise AudioError(path, "empty", f"no sample is left at {rate_hz} Hz")
    return np.ascontiguousarray(wave, dtype=np.float32)


def resample(wave: np.ndarray, native_hz: int, rate_hz: int) -> np.ndarray:
    """(samples,) float32 at one rate, at the other; see `decode` for the quality."""
    if native_hz == rate_hz:
        return wave
    import soxr

    return soxr.resample(wave, native_hz, rate_hz, quality="HQ")


def decode_blocks(path: str | Path, rate_hz: int) -> Iterator[np.ndarray]:
    """The waveform of `decode`, in blocks: a file of any length takes the memory of a few blocks.

    yields: (samples,) float32 of at least one sample each; together what `decode` returns, but for the rounding of
            the mp3 decoder.
    raises: AudioError as `decode`, some of it only when the block is asked for that shows it.
    """
    path, found, again = Path(path), False, None
    for wave, native_hz in _blocks(path, rate_hz):
        again = again or _streaming_resampler(native_hz, rate_hz)
        if len(resampled := again(wave, False)):
            found = True
            yield np.ascontiguousarray(resampled)
    if again and len(resampled := again(np.empty(0, np.float32), True)):
        found = True
        yield np.ascontiguousarray(resampled)
    if not found:
        raise AudioError(path, "empty", "it decodes to no samples")


def _blocks(path: Path, rate_hz: int) -> Iterator[tuple[np.ndarray, int]]:
    """(samples,) float32 as the file has them, one block after another, each with their rate in Hz."""
    _check_there(path)
    if m4a.is_m4a(path):
        yield from ((_finite(wave, path), native_hz) for wave, native_hz in m4a.frames(path))
        return
    with _opened(path) as file:
        most = BLOCK_SAMPLES // max(file.channels, math.ceil(rate_hz / file.samplerate))
        while len(channels := _next_frames(file, path, max(1, most))):
            yield _mix(channels), file.samplerate


def _streaming_resampler(native_hz: int, rate_hz: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """(the next samples, whether they are the last) -> what can be said of them at the other rate."""
    if native_hz == rate_hz:
        return lambda wave, last: wave
    import soxr

    return soxr.ResampleStream(native_hz, rate_hz, 1, dtype="float32", quality="HQ").resample_chunk


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["soundfile.SoundFile"]:
    """The file, to be read from its beginning to its end."""
    import soundfile

    class Forwards(soundfile.SoundFile):
        """After each read, soundfile seeks to where it is, and an mp3 then does not go on exactly there."""

        def seekable(self) -> bool:
            return False

    try:
        with quiet_decoder():
            file = Forwards(os.fsencode(path))
    except soundfile.SoundFileError as problem:
        raise AudioError(path, "undecodable", _why(problem)) from problem
    with file:
        yield file


def _next_frames(file: "soundfile.SoundFile", path: Path, frames: int) -> np.ndarray:
    """(frames, channels) float32; none at the end of the file."""
    import soundfile

    try:
        with quiet_decoder():
            channels = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as problem:
        raise AudioError(path, "undecodable", _why(problem)) from problem
    return _finite(channels, path)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    if not path.stat().st_size:
        raise AudioError(path, "empty", "the file has no bytes")


def _finite(channels: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(channels).all():
        raise AudioError(path, "undecodable", "some samples are not numbers")
    return channels


def _read_mono(path: Path, max_seconds: float | None) -> tuple[np.ndarray, int]:
    """(samples,) float32 as the file has them, and its rate in Hz."""
    _check_there(path)
    if m4a.is_m4a(path):
        return _read_m4a(path, max_seconds)
    import soundfile

    try:
        with quiet_decoder(), soundfile.SoundFile(os.fsencode(path)) as file:  # a name need not be text
            frames = _frames_wanted(file.frames, file.samplerate, max_seconds)
            if frames * file.channels > MOST_SAMPLES:
                raise AudioError(path, "undecodable", f"its header claims {frames} frames")
            # One read: after each, soundfile seeks, and an mp3 does not go on exactly where it stopped.
            channels = file.read(frames, dtype="float32", always_2d=True)
            native_hz = int(file.samplerate)
    except soundfile.SoundFileError as problem:
        raise AudioError(path, "undecodable", _why(problem)) from problem
    if not len(channels):
        raise AudioError(path, "empty", "it decodes to no samples")
    return _mix(_finite(channels, path)), native_hz


def _read_m4a(path: Path, max_seconds: float | None) -> tuple[np.ndarray, int]:
    """As _read_mono; nothing is decoded beyond what is wanted."""
    parts, found, most, native_hz = list[np.ndarray](), 0, math.inf, 0
    for wave, native_hz in m4a.frames(path):
        parts.append(wave)
        found += len(wave)
        if max_seconds is not None:
            most = math.ceil((max_seconds + MARGIN_SECONDS) * native_hz)
        if found >= most:
            break
    if not found:
        raise AudioError(path, "empty", "it decodes to no samples")
    return _finite(np.concatenate(parts)[: round(min(found, most))], path), native_hz


def _mix(channels: np.ndarray) -> np.ndarray:
    """(samples,) float32: the mean of (samples, channels)."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    if channels.shape[1] == 2:  # to the bit what mean() gives, which is slow along so short an axis
        return (channels[:, 0] + channels[:, 1]) * np.float32(0.5)
    return channels.mean(axis=1, dtype=np.float32)


def _frames_wanted(frames: int, rate_hz: int, max_seconds: float | None) -> int:
    if max_seconds is None:
        return frames
    return min(frames, math.ceil((max_seconds + MARGIN_SECONDS) * rate_hz))


def _why(problem: Exception) -> str:
    # Without the path: the reason is written into the store, whose bytes do not depend on where the music lies.
    words = str(getattr(problem, "error_string", problem))
    # libsndfile says "does not exist or is not a regular file" of an mp3 in which it finds no frame.
    return "no audio is found in it" if "not a regular file" in words else words
