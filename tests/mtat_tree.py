"""A folder laid out like MagnaTagATune, of whatever clips a test wants."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datasets.mtat import TOP_50

COLUMNS = (*sorted(TOP_50), "a tag beyond the 50")


class Clip(NamedTuple):
    """audio: a wave at 22,050 Hz, the bytes of a file, a file to link to, or None for a missing one."""

    clip_id: int
    path: str
    tags: tuple[str, ...] = ("rock",)
    audio: np.ndarray | bytes | Path | None = None


def write_tree(folder: Path, clips: Iterable[Clip], below: str = "mp3") -> Path:
    """Write annotations and audio; waves are written as they are (WAV content decodes under any name)."""
    clips = list(clips)
    for clip in clips:
        file = folder / below / clip.path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(clip.audio, Path):
            file.symlink_to(clip.audio)
        elif isinstance(clip.audio, bytes):
            file.write_bytes(clip.audio)
        elif clip.audio is not None:
            file.write_bytes(wav(clip.audio))
    rows = [("clip_id", *COLUMNS, "mp3_path")]
    rows += [
        (str(clip.clip_id), *("1" if tag in clip.tags else "0" for tag in COLUMNS), clip.path)
        for clip in clips
    ]
    write_table(folder / "annotations_final.csv", rows)
    return folder


def write_table(file: Path, rows: Iterable[Iterable[str]]) -> None:
    """Tab separated, every field quoted, CRLF: as MagnaTagATune's lists are."""
    lines = ["\t".join(f'"{field}"' for field in row) + "\r\n" for row in rows]
    file.write_text("".join(lines), encoding="ascii", newline="")


def wav(wave: np.ndarray, rate_hz: int = 22_050, subtype: str = "FLOAT") -> bytes:
    """A WAV file's bytes; wave is (samples,) or (samples, channels)."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def mp3(wave: np.ndarray, rate_hz: int = 16_000) -> bytes:
    """An MP3 file's bytes."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format="MP3")
    return file.getvalue()


def music(n_samples: int, seed: int = 0) -> np.ndarray:
    """Something that decodes: float32 noise at a quarter of full scale."""
    return (0.25 * np.random.default_rng(seed).uniform(-1, 1, n_samples)).astype(np.float32)
