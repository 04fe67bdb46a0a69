"""The head of a Ray cluster: its address, and how a process parts from it."""

import gc
import subprocess
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray

from datasets.head import host_and_port, leave

LEAVING = Path(__file__).with_name("leaving_ray.py")


def test_an_address_has_a_host_and_a_port() -> None:
    assert host_and_port("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:port", "head:65536", "ray://h:1"])
def test_what_is_no_address_has_none(address: str) -> None:
    assert host_and_port(address) is None


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_collector_is_emptied_before_and_rests_while_a_process_leaves_ray(
    interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []

    def shutdown() -> None:
        seen.append((gc.isenabled(), knot() is None))
        if interrupted:
            raise KeyboardInterrupt

    class Knot:
        def __init__(self) -> None:
            self.itself = self

    monkeypatch.setattr(ray, "shutdown", shutdown)
    knot = weakref.ref(Knot())
    with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
        leave()
    assert seen == [(False, True)]
    assert gc.isenabled()


@pytest.mark.slow
def test_what_dies_in_another_thread_while_a_process_leaves_ray_does_not_end_it() -> None:
    """With `ray.shutdown` in the place of `leave` it ends nearly always, with exit code 1."""
    left = subprocess.run(
        [sys.executable, str(LEAVING)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (left.returncode, left.stdout) == (0, "still here\n"), left.stderr
