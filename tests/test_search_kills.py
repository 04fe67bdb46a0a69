"""A trial that is killed at any moment is taken up again, and ends as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).with_name("killed_trials.py")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_home")
def test_a_kill_at_any_change_to_a_trials_folder_loses_changes_and_leaves_nothing() -> None:
    killed = subprocess.run(
        [sys.executable, str(KILLING)], capture_output=True, text=True, timeout=300, check=False
    )
    said = killed.stdout.splitlines()
    assert killed.returncode == 0, killed.stderr
    assert len(said) == 1, "\n".join([killed.stdout, killed.stderr])
    assert int(said[0].removesuffix(" kills")) > 40
