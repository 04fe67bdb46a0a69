"""A build on a Ray cluster: the same command, the same bytes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mtat_tree import Clip, music, write_tree
from ray_head import ray_head
from test_datasets_faults import content, skipped

from datasets.build import build
from datasets.errors import DatasetError

SCRIPT = Path(__file__).with_name("faulty_build.py")


def run(environment: dict[str, str] | None, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), "never", "name=mtat", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.mark.slow
def test_a_build_on_a_cluster_gives_the_bytes_of_a_local_one_whatever_its_clips_do(tmp_path: Path) -> None:
    faults = ["good", "abort", "good", "odd", "good", "hang", "good", "good", "good"]
    names = [f"{fault}-{i}" for i, fault in enumerate(faults)]
    clips = [Clip(2 + i, f"0/{name}.mp3", audio=music(2_205, i)) for i, name in enumerate(names)]
    source = write_tree(tmp_path / "source", clips)
    words = (f"source={source}", "seconds_per_clip=3")
    with ray_head() as (address, environment):
        on_cluster = run(environment, *words, f"out={tmp_path / 'cluster'}", f"address={address}")
    here = run(None, *words, f"out={tmp_path / 'here'}")
    assert (on_cluster.returncode, here.returncode) == (0, 0), on_cluster.stderr + here.stderr
    assert f"tasks on the cluster at {address}, at most " in on_cluster.stderr
    assert skipped(tmp_path / "cluster")[0] == ("abort", "crashed", "it ends the process that decodes it")
    assert len(skipped(tmp_path / "cluster")) == 3
    assert content(tmp_path / "cluster") == content(tmp_path / "here")


@pytest.mark.parametrize(
    ("address", "refusal"),
    [
        (
            "127.0.0.1:1",
            "nobody answers at address=127.0.0.1:1 (Connection refused); start one with",
        ),
        ("head", "address=head: give HOST:PORT of the cluster's head, or auto"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_clear_line_at_once(
    tmp_path: Path, address: str, refusal: str
) -> None:
    source = write_tree(tmp_path / "source", [Clip(2, "0/a.mp3", audio=music(2_205))])
    with pytest.raises(DatasetError, match=re.escape(refusal)):
        build("mtat", source, out=tmp_path, address=address)


def test_a_node_that_does_not_see_the_folders_says_so(tmp_path: Path) -> None:
    from datasets import cluster, mtat
    from datasets.shards import tasks

    source = write_tree(tmp_path / "source", [Clip(2, "0/a.mp3", audio=music(2_205))])
    (task,) = tasks(mtat.plan(source, 22_050), tmp_path / "not shared")
    make = cluster._make._function  # what a node runs
    with pytest.raises(DatasetError, match=r"does not see .*not shared; all nodes must see the same source="):
        make(task, 60.0)
