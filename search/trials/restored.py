"""A stored checkpoint says of every clip what was stored with it, to the last bit: it is read and asked again.

Bits are the same only where the same is computed in the same way, so the card of a checkpoint tells on what kind of
device, with how many threads and which torch its scores were taken.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import SearchError
from search.machine import device_kind
from search.scoring.score_table import SplitScores

HOW = "evaluated"  # the field of a card's lineage
# Of search/trials/evaluation.py; another order of its sums has other bits, and another name.
WAY = "norms folded, blocks as products, clips together, float32"
MOST_THREADS = 1024
NOT_HERE = 3  # exit code of the process that scores, where the data set is not here


def how_evaluated(device: str) -> dict[str, Any]:
    """What the bits of scores depend on, of this process and the device that they are computed on."""
    import torch

    return {
        "device": device_kind(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "way": WAY,
    }


def check(checkpoint: Path, lineage: Mapping[str, Any], stored: SplitScores) -> str | None:
    """Compare the test scores of a checkpoint, taken now, with those that were stored.

    lineage: of its card. stored: of the test clips.
    returns: None if they are the same to the bit; else why that can't be said on this machine.
    raises:  SearchError if they are others: the weights are not those that were scored.
    """
    how = lineage.get(HOW)
    if not isinstance(how, Mapping) or not isinstance(lineage.get("settings"), Mapping):
        return "its card does not tell on what it was scored"
    device = next((name for name in ("cpu", "cuda") if _same_here(how, name)), None)
    if device is None:
        return (
            f"it was scored on {how.get('device')} with torch {how.get('torch')} and {how.get('threads')} threads, "
            f"which can't be had here"
        )
    if how.get("way") != WAY:
        return "it was scored by another version of this program, which rounds in another way"
    said, why = _asked(checkpoint, device, int(how["threads"]))
    if said is None:
        return why
    if not np.array_equal(said, stored.probabilities):
        raise SearchError(
            f"the stored weights give other scores than those that were stored with them{_gap(said, stored)}: they "
            f"are damaged or of another training; train that network again"
        )
    return None


def _gap(said: NDArray[np.float64], stored: SplitScores) -> str:
    if said.shape != stored.probabilities.shape:
        return ""
    return f", by up to {np.abs(said - stored.probabilities).max():.2g}"


def _same_here(how: Mapping[str, Any], device: str) -> bool:
    import torch

    if type(how.get("threads")) is not int or not 1 <= how["threads"] <= MOST_THREADS:
        return False
    there = device == "cpu" or torch.cuda.is_available()
    return there and how.get("device") == device_kind(device) and how.get("torch") == torch.__version__


def _asked(checkpoint: Path, device: str, threads: int) -> tuple[NDArray[np.float64] | None, str]:
    """(clips, tags) of the test split, from a process that has computed nothing before, as a worker's had not.

    None, and why, where the data set is not here.
    """
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        out = Path(folder) / "scores.npy"
        words = [
            sys.executable,
            "-m",
            "search.trials.restored",
            str(checkpoint),
            device,
            str(threads),
            str(out),
        ]
        paths = [str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode == NOT_HERE:
            return None, done.stdout.strip()
        if done.returncode:
            told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SearchError(f"its weights could not be scored again: {told}")
        return np.load(out, allow_pickle=False), ""


def main(words: Sequence[str]) -> int:
    """Score the test clips. words: the checkpoint, the device, the number of threads, and the file to write."""
    from datasets import DatasetError

    checkpoint, device, threads, out = words
    try:
        np.save(out, _test_scores(checkpoint, device, int(threads)), allow_pickle=False)
    except DatasetError as error:
        print(error)
        return NOT_HERE
    return 0


def _test_scores(checkpoint: str, device: str, threads: int) -> NDArray[np.float64]:
    """(clips, tags) of the test split. raises: DatasetError where the data set is not here."""
    import datasets
    import zoo
    from search.settings import TrialSettings
    from search.trials import worker
    from search.trials.evaluation import evaluate
    from search.trials.feed import open_feed

    worker.prepare(threads)
    network, card = zoo.read(checkpoint)
    settings = TrialSettings.from_json(card.lineage["settings"])
    here = datasets.card(settings.dataset)
    if here.fingerprint != settings.fingerprint:
        raise datasets.DatasetError(
            f"{settings.dataset} has fingerprint {here.fingerprint} here, {settings.fingerprint} there"
        )
    heard = open_feed(settings.dataset, "test", settings.convention, card.entry(), device)
    return evaluate(network.to(device), heard).probabilities


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
