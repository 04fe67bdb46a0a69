"""The head of a Ray cluster: its address, and how a process parts from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from datasets.head import host_and_port

LEAVING = Path(__file__).with_name("leaving_ray.py")


def test_an_address_has_a_host_and_a_port() -> None:
    assert host_and_port("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:port", "head:65536", "ray://h:1"])
def test_what_is_no_address_has_none(address: str) -> None:
    assert host_and_port(address) is None


@pytest.mark.slow
def test_what_dies_in_another_thread_while_a_process_leaves_ray_does_not_end_it() -> None:
    """With `ray.shutdown` in the place of `leave` it ends nearly always, with exit code 1."""
    left = subprocess.run(
        [sys.executable, str(LEAVING)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (left.returncode, left.stdout) == (0, "still here\n"), left.stderr
