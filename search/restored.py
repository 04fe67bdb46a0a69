"""A stored checkpoint says of every clip what was stored with it, to the last bit: it is read and asked again.

Bits are the same only where the same is computed in the same way, so the card of a checkpoint tells on what kind of
device, with how many threads and which torch its scores were taken.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.machine import device_kind
from search.score_table import SplitScores
from search.settings import SearchError

HOW = "evaluated"  # the field of a card's lineage
CLEAN = get_context("spawn")  # a process that has computed nothing yet, as a worker's


def how_evaluated(device: str) -> dict[str, Any]:
    """What the bits of scores depend on, of this process and the device that they are computed on."""
    import torch

    return {"device": device_kind(device), "threads": torch.get_num_threads(), "torch": torch.__version__}


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
            f"it was scored on {how.get('device')} with torch {how.get('torch')}, which this machine has not"
        )
    with ProcessPoolExecutor(1, mp_context=CLEAN) as process:
        asked = process.submit(_test_scores, str(checkpoint), device, int(how["threads"]))
        try:
            said, why = asked.result()
        except BrokenProcessPool as error:
            raise SearchError(f"the process that scored {checkpoint.name} again has died: {error}") from error
    if said is None:
        return why
    if not np.array_equal(said, stored.probabilities):
        most = (
            f"by up to {np.abs(said - stored.probabilities).max():.2g}"
            if said.shape == stored.probabilities.shape
            else ""
        )
        raise SearchError(
            f"the stored weights give other scores than those that were stored with them, {most}: they are damaged "
            f"or of another training; train that network again"
        )
    return None


def _same_here(how: Mapping[str, Any], device: str) -> bool:
    import torch

    there = device == "cpu" or torch.cuda.is_available()
    return there and how.get("device") == device_kind(device) and how.get("torch") == torch.__version__


def _test_scores(checkpoint: str, device: str, threads: int) -> tuple[NDArray[np.float64] | None, str]:
    """(clips, tags) of the test split; None, and why, where the data set is not here. Runs in a process of its own."""
    import datasets
    import zoo
    from search import worker
    from search.evaluation import evaluate
    from search.feed import open_feed
    from search.settings import TrialSettings

    worker.prepare(threads)
    network, card = zoo.read(checkpoint)
    settings = TrialSettings.from_json(card.lineage["settings"])
    try:
        here = datasets.card(settings.dataset)
    except datasets.DatasetError as error:
        return None, str(error)
    if here.fingerprint != settings.fingerprint:
        return (
            None,
            f"{settings.dataset} has fingerprint {here.fingerprint} here, {settings.fingerprint} there",
        )
    heard = open_feed(settings.dataset, "test", settings.convention, card.entry(), device)
    return evaluate(network.to(device), heard).probabilities, ""
