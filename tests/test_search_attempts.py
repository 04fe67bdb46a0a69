"""How long an epoch may take, and why a process was lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from search import failures
from search.trials import attempts
from search.trials.attempts import Attempt, Limit, cause


def test_the_limit_of_an_epoch_follows_from_those_before_it() -> None:
    assert Limit("auto", 1.0).seconds([]) == 600
    assert Limit("auto", 100.0).seconds([]) == 6000
    assert Limit("auto", 1000.0).seconds([70.0, 90.0]) == 900
    assert Limit("auto", 1000.0).seconds([1.0]) == 600
    assert Limit(3, 1000.0).seconds([5000.0]) == 180


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's counts, which a test may change."""
    file = tmp_path / "vmstat"
    file.write_text("nr_free_pages 7\noom_kill 3\n")
    monkeypatch.setattr(attempts, "VMSTAT", file)
    return file


def test_a_process_that_lets_go_leaves_nothing_to_explain(tmp_path: Path, counts: Path) -> None:
    Attempt(tmp_path, Limit("auto", 1.0)).close()
    assert cause(tmp_path) is None
    assert sorted(file.name for file in tmp_path.iterdir()) == ["vmstat"]


def test_a_process_that_is_gone_was_lost(tmp_path: Path, counts: Path) -> None:
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()
    assert cause(tmp_path) is failures.LOST
    assert attempts.loss(tmp_path)["why"].startswith("its process or node was lost 4 times (killed, or ")


def test_a_process_that_the_kernel_ended_for_memory_is_told_from_others(tmp_path: Path, counts: Path) -> None:
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()
    counts.write_text("nr_free_pages 7\noom_kill 4\n")
    assert cause(tmp_path) is failures.HOST_MEMORY
    assert attempts.loss(tmp_path)["kind"] == "out of host memory"


def test_a_kernel_that_does_not_count_is_believed_nothing(tmp_path: Path, counts: Path) -> None:
    counts.write_text("nr_free_pages 7\n")
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()
    assert cause(tmp_path) is failures.LOST


HANGS = """
import sys, threading
from pathlib import Path
from search.trials.attempts import Attempt, Limit
attempt = Attempt(Path(sys.argv[1]), Limit(0.005, 1.0))
attempt.begin([])
attempt.rest()
def an_epoch_that_never_ends():
    threading.Event().wait()
attempt.begin([])
an_epoch_that_never_ends()
"""


def test_an_epoch_that_never_ends_is_ended(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path)], capture_output=True, check=False, timeout=120
    )
    assert answer.returncode == 1, answer.stderr
    assert "an_epoch_that_never_ends" in (tmp_path / "hang.txt").read_text()
    assert cause(tmp_path) is failures.HANG
    loss = attempts.loss(tmp_path)
    assert loss["kind"] == "hang"
    assert loss["why"].endswith(f"where it stood is in {tmp_path}/hang.txt")
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()  # the next one, lost in another way
    assert cause(tmp_path) is failures.LOST


def test_what_a_node_found_before_is_believed_where_its_counts_cannot_be_read(
    tmp_path: Path, counts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the node: the first process is ended for memory, the second is lost. Here, on another machine: it is read."""
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()
    counts.write_text("nr_free_pages 7\noom_kill 4\n")
    Attempt(tmp_path, Limit("auto", 1.0))._stacks.close()
    assert cause(tmp_path) is failures.LOST
    boot = tmp_path / "boot_id"
    boot.write_text("another machine\n")
    monkeypatch.setattr(attempts, "BOOT", boot)
    assert cause(tmp_path) is failures.HOST_MEMORY
