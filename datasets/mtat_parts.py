"""MagnaTagATune as it is downloaded: mp3.zip.001 to mp3.zip.003, which are one zip together."""

import hashlib
import os
from pathlib import Path

from datasets.archive import find_parts, unpack
from datasets.home import home

NAME = "mp3.zip"
FOLDERS = "0123456789abcdef"


def audio_folder(source: Path) -> Path:
    """Folder that has the folders 0 to f: mp3/ in source, or source itself, or what the zip parts there hold.

    The parts are unpacked once into source/mp3, or below home() where source can't be written to.
    raises: DatasetError as datasets.archive.unpack.
    """
    if (source / "mp3").is_dir():
        return _inner(source / "mp3")
    if any((source / folder).is_dir() for folder in FOLDERS):
        return source
    parts = find_parts(source, NAME)
    if not parts:
        return source
    target = source / "mp3" if os.access(source, os.W_OK) else _below_home(parts)
    unpack(parts, target)
    return _inner(target)


def _inner(folder: Path) -> Path:
    # A zip may have the folder mp3 inside.
    return folder / "mp3" if (folder / "mp3").is_dir() else folder


def _below_home(parts: list[Path]) -> Path:
    text = "\n".join(f"{part.absolute()} {part.stat().st_size}" for part in parts)
    return home() / "sources" / "mtat" / f"mp3-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
