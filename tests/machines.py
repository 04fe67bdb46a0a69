"""Machines that share no disk, and a trial that lies on the one at which this process is."""

from pathlib import Path

import pytest

from search import files

KEY = "0123456789abcdef"


class Machines:
    """Homes of several machines, none of which sees another's; this process is on one of them at a time."""

    def __init__(self, datasets: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.datasets, self.folder, self.monkeypatch = datasets, folder, monkeypatch

    def go_to(self, name: str) -> None:
        home = self.folder / name
        if not home.exists():
            home.mkdir()
            (home / "datasets").symlink_to(self.datasets)
        self.monkeypatch.setenv("WAVEZOO_HOME", str(home))


def write(epochs: int, state: bytes = b"a state") -> Path:
    """A trial's folder on this machine, as it is after so many epochs."""
    folder = files.trial_folder(KEY)
    files.write_json(folder / files.EPOCHS, [{"epoch": 1 + at} for at in range(epochs)])
    (folder / files.STATE).write_bytes(state)
    return folder
