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
MOST_SECONDS = 60


@contextmanager
def mps() -> Iterator[dict[str, str]]:
    """A daemon of our own while this is open. Gives what its clients need in their environment.

    raises: DatasetError where it isn't there or does not start.
    """
    control = shutil.which(CONTROL)
    if control is None:
        raise DatasetError(f"mps=yes: {CONTROL} is not here; it comes with NVIDIA's driver")
    with TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        places = {f"CUDA_MPS_{kind}_DIRECTORY": str(Path(folder, kind.lower())) for kind in ("PIPE", "LOG")}
        for place in places.values():
            Path(place).mkdir()
        said = Path(folder, "said")
        try:
            if code := _told(control, places, said, "-d"):
                why = " ".join(said.read_text().split()) or f"exit code {code}"
                raise DatasetError(f"mps=yes: {CONTROL} does not start ({why})")
            yield places
        finally:
            _told(control, places, said, input="quit\n")


def _told(control: str, places: dict[str, str], said: Path, *words: str, input: str = "") -> int:
    """Returns the exit code. said: a file for what it answers, as the daemon may keep a pipe for good."""
    with said.open("w") as answers:
        try:
            return subprocess.run(
                [control, *words],
                env=os.environ | places,
                input=input,
                stdout=answers,
                stderr=answers,
                text=True,
                check=False,
                timeout=MOST_SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            answers.write(f"no answer in {MOST_SECONDS} s")
            return 1
