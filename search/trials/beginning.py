"""A trial's training, made from its settings, or taken up as it stands in the trial's folder."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

import datasets
import zoo
from datasets.errors import DatasetError
from datasets.split import Split
from datasets.whole import written_whole
from search import failures, files
from search.settings import TrialSettings
from search.trials.feed import Feed, open_feed
from search.trials.team import Team
from search.trials.training import Fit


class Feeds:
    """Splits as networks hear them, each open once for segments of one length as long as a training holds it.

    On a GPU a split may bring its music along, which trainings of one process need only once.
    """

    def __init__(self) -> None:
        self._open: WeakValueDictionary[tuple[object, ...], Split] = WeakValueDictionary()

    def open(self, settings: TrialSettings, split: str, device: str | torch.device) -> Feed:
        """raises: DataTrouble."""
        entry, about = entry_of(settings), (settings.dataset, settings.fingerprint, settings.convention)
        key = (*about, split, entry.input_samples, entry.sample_rate_hz, torch.device(device))
        if (found := self._open.get(key)) is None:
            with _data_trouble():
                found = open_feed(settings.dataset, split, settings.convention, entry, device).split
            # It may have been built anew since the training began
            _check(found.card.fingerprint, settings)
            self._open[key] = found
        return Feed(found, entry)

    @property
    def music_bytes(self) -> int:
        """Of the GPU's memory, what holds clips."""
        music = [split.music for split in self._open.values()]
        return sum(each.n_bytes for each in music if each.device.type == "cuda")


def check_data(settings: TrialSettings) -> None:
    """raises: DataTrouble if the data set is not the one that the settings name."""
    with _data_trouble():
        found = datasets.card(settings.dataset).fingerprint
    _check(found, settings)


def _check(fingerprint: str, settings: TrialSettings) -> None:
    if fingerprint != settings.fingerprint:
        raise failures.DataTrouble(
            f"{settings.dataset} has fingerprint {fingerprint} here, {settings.fingerprint} where the search "
            f"was started: build it again from the same source, or share one WAVEZOO_HOME"
        )


def begun(settings: TrialSettings, device: str | torch.device, team: Team, feeds: Feeds) -> Fit:
    """The training at its beginning."""
    entry, train = entry_of(settings), feeds.open(settings, "train", device)
    torch.manual_seed(settings.seed)
    tags = len(train.split.tags)
    network = entry.build(tags).to(device)
    segments = settings.training.segments_per_epoch(len(train), entry.cost(tags).multiply_adds)
    valid = feeds.open(settings, "valid", device)
    return Fit(network, train, valid, settings.training, settings.seed, segments, team)


def take_up(fit: Fit, folder: Path) -> list[dict[str, Any]]:
    """Let the training go on from what the folder holds. Returns the epochs until then."""
    history: list[dict[str, Any]] = []
    if found := read_state(folder / files.STATE):
        tensors, about = found
        fit.restore(tensors, json.loads(about["progress"]))
        history = json.loads(about["epochs"])
    if found := read_state(folder / files.MOMENT):
        tensors, about = found
        fit.restore_moment(tensors, json.loads(about["moment"]))  # one of another epoch is passed over
    return history


def follow(settings: TrialSettings, device: str, team: Team) -> None:
    """Train along with the trial of the team's rank 0, whose folder it is; nothing is kept here."""
    fit = begun(settings, device, team, Feeds())
    take_up(fit, files.trial_folder(settings.signature()))
    for _ in fit:
        pass


def entry_of(settings: TrialSettings) -> zoo.Entry:
    """The network's record, with the options of the settings."""
    return zoo.entry(settings.network).with_options(**settings.options)


def write_state(file: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Through Python's own files: safetensors' errors don't tell a full disk from others."""
    with written_whole(file) as part:
        part.write_bytes(to_bytes(tensors, metadata=about))


def read_state(file: Path) -> tuple[dict[str, Tensor], Mapping[str, str]] | None:
    """Tensors and what is said of them; None where there is no file."""
    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (no mapping)
        return tensors, stored.metadata()


@contextlib.contextmanager
def _data_trouble() -> Iterator[None]:
    """What a data set refuses here, it refuses to every trial."""
    try:
        yield
    except DatasetError as error:
        raise failures.DataTrouble(str(error)) from error
