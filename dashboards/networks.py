"""The networks whose filters can be looked at: registered models, trainings that have ended, the zoo's untrained."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zoo
from dashboards.jobs import ONE_LINE, Job, Jobs, Tell
from dashboards.models import Models
from dashboards.reading import Reading
from search import files
from search.outcome import Outcome
from search.study.records import Search
from zoo import ZooError

if TYPE_CHECKING:
    from torch import nn

    from zoo.network import WaveNetwork

MODELS, ZOO, STUDY = "models", "zoo", "study:"
PAPERS_BEST = "samplecnn_m3_n9_s3"
SEED = 0  # of the weights that a network begins with
MOST_HELD = 4
MOST_WAITING, MOST_KEPT = 4, 20


@dataclass(frozen=True)
class Looked:
    """A network, held in memory.

    title:  what it is, in words. digest: of its weights.
    layers: those that filters are looked at in, and how many each has.
    begins: the same network with the weights that it might have begun with; None where it is such a one.
    """

    title: str
    network: WaveNetwork
    digest: str
    layers: Mapping[str, int]
    begins: Looked | None = None


class Networks:
    """What there is to choose from, and the networks that were chosen last."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.jobs = Jobs("networks", MOST_WAITING, MOST_KEPT)
        self._held: OrderedDict[tuple[str, str], Looked] = OrderedDict()
        self._gone: dict[tuple[str, str], bool] = {}
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def close(self) -> None:
        self.jobs.close()

    def groups(self, reading: Reading) -> list[tuple[str, str]]:
        """(word, label) of each set of networks, those with trained ones first."""
        ended = [search.name for search in reading.searches() if _ended(search)]
        return [
            *([(MODELS, "registered models")] if self.models.listed() else []),
            *((f"{STUDY}{name}", f"search {name}") for name in ended),
            (ZOO, "the zoo, not trained"),
        ]

    def members(self, reading: Reading, group: str) -> list[tuple[str, str]]:
        """(word, label) of each network of a group. raises: ZooError for a group that there is not."""
        if group == MODELS:
            return [(model.address, model.label) for model in self.models.listed()]
        if group == ZOO:
            return [(name, name) for name in zoo.names()]
        for search in reading.searches():
            if group == f"{STUDY}{search.name}":
                return _ended(search)
        raise ZooError(f"there are no networks called {group[:100]!r} here")

    def take(self, reading: Reading, group: str, word: str) -> Looked:
        """A network by its words. raises: ZooError if there is none, or if its checkpoint is damaged."""
        if group == MODELS:
            self.models.wait_once()  # an address that was kept is opened as soon as the server runs
        labels = dict(self.members(reading, group))
        if word not in labels:
            raise ZooError(f"there is no network {word[:100]!r} among them; choose another")
        with self._loading:
            looked = self._find(group, word)
            if looked is None:
                looked = _loaded(group, word, labels[word])
                self._hold(group, word, looked)
            return looked

    def begin(self, reading: Reading, group: str, word: str) -> Looked | Job:
        """A network where it is held, else the job that takes it: a registry may be silent for minutes.

        A job that has failed is given once, and the next look begins another. raises: BusyError if too many wait.
        """
        looked = self._find(group, word)
        if looked is not None:
            return looked
        key = f"{group} {word}"
        job = self.jobs.find(key)
        if job is not None and job.state == "failed":
            self.jobs.drop(key)
            return job

        def work(tell: Tell) -> None:  # a job that has ended keeps no network
            self.take(reading, group, word)

        return self.jobs.submit(key, work)

    def has(self, reading: Reading, group: str, word: str) -> bool:
        """Whether `take` gives it; tried once."""
        if (group, word) not in self._gone:
            try:
                self.take(reading, group, word)
                self._gone[group, word] = False
            except (*ONE_LINE, OSError):
                self._gone[group, word] = True
        return not self._gone[group, word]

    def _find(self, group: str, word: str) -> Looked | None:
        with self._lock:
            if (group, word) in self._held:
                self._held.move_to_end((group, word))
            return self._held.get((group, word))

    def _hold(self, group: str, word: str, looked: Looked) -> None:
        with self._lock:
            self._held[group, word] = looked
            while len(self._held) > MOST_HELD:
                self._held.popitem(last=False)


def _ended(search: Search) -> list[tuple[str, str]]:
    """(signature, label) of the trainings of a search that have ended."""
    return [
        (record.signature, f"{record.settings.network}, seed {record.settings.seed} ({record.signature[:8]})")
        for record in search.records
        if record.outcome is Outcome.DONE
    ]


def _loaded(group: str, word: str, label: str) -> Looked:
    import torch

    if group == ZOO:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return _looked(f"{word}, not trained", zoo.create(word))
    if group != MODELS:
        files.bring(word, patient=False)
    address = word if group == MODELS else str(files.trial_folder(word) / files.CHECKPOINT)
    tagger = zoo.load(address)
    card = tagger.card
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        begins = _looked(f"{card.network}, not trained", card.entry().build(card.n_tags))
    title = f"{card.network}, {label}" if group == MODELS else label
    return _looked(title, tagger.network, begins)


def _looked(title: str, network: nn.Module, begins: Looked | None = None) -> Looked:
    from zoo.filters import climbable
    from zoo.network import WaveNetwork

    assert isinstance(network, WaveNetwork)  # as all of the zoo are
    return Looked(title, network.eval(), _digest(network), climbable(network), begins)


def _digest(network: nn.Module) -> str:
    """Of all weights and what else the state holds, with their names."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
