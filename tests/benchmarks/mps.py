"""NVIDIA's MPS for the processes of a benchmark: with it several processes compute on a GPU at once, else in turn."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from datasets.errors import DatasetError

CONTROL = "nvidia-cuda-mps-control"


@contextmanager
def mps() -> Iterator[dict[str, str]]:
    """A daemon of our own while this is open. Gives what its clients need in their environment.

    raises: DatasetError where it isn't there or does not start.
    """
    control = shutil.which(CONTROL)
    if control is None:
        raise DatasetError(f"mps=yes: {CONTROL} is not here; it comes with NVIDIA's driver")
    with TemporaryDirectory(prefix="mps-") as folder:
        places = {f"CUDA_MPS_{kind}_DIRECTORY": str(Path(folder, kind.lower())) for kind in ("PIPE", "LOG")}
        for place in places.values():
            Path(place).mkdir()
        begun = _told(control, places, "-d")
        if begun.returncode:
            why = " ".join((begun.stderr or begun.stdout).split())
            raise DatasetError(f"mps=yes: {CONTROL} does not start ({why or begun.returncode})")
        try:
            yield places
        finally:
            _told(control, places, said="quit\n")


def _told(
    control: str, places: dict[str, str], *words: str, said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [control, *words],
        env=os.environ | places,
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
