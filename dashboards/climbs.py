"""What filters answer to, found once: a job in the background, and its outcome on disk, whoever asks and when."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dashboards.jobs import Job, Jobs, Tell
from dashboards.networks import Looked
from datasets.home import home
from datasets.whole import written_whole

if TYPE_CHECKING:
    from zoo.filters import Answers

MOST_WAITING, MOST_KEPT = 4, 50
MOST_BINS = 200  # of a spectrum that is kept, for a panel of some 250 pixels
SEED = 0  # of the noise that the waves begin with
PROCEDURE = 2  # to be raised when `zoo.filters` comes to find other waves, or other things are kept


@dataclass(frozen=True, eq=False)
class Found:
    """What the filters of a layer answer to, as it is kept.

    spectra:  (filters, bins) float32, of `zoo.filters`; neighbouring bins are put together by their highest.
    bin_hz:   how far bins lie apart, the first at 0 Hz. peaks_hz: (filters,) where each spectrum is highest.
    samples:  of a wave. file: where the waves are.
    """

    layer: str
    sample_rate_hz: int
    spectra: NDArray[np.float32]
    bin_hz: float
    peaks_hz: NDArray[np.float64]
    samples: int
    file: Path

    @property
    def order(self) -> NDArray[np.intp]:
        """(filters,) the filters by their peaks."""
        return np.argsort(self.peaks_hz, kind="stable")

    def waves(self) -> NDArray[np.float32]:
        """(filters, samples), read from the file."""
        with np.load(self.file, allow_pickle=False) as kept:
            waves: NDArray[np.float32] = kept["waves"]
        return waves


@dataclass(frozen=True)
class Asked:
    """A network and its layers, as they were chosen. of, network, layers: the words of the page's address."""

    of: str
    network: str
    layers: str


class Climbs:
    """The outcomes there are, and the jobs that make more."""

    def __init__(self) -> None:
        self.jobs = Jobs("filters", MOST_WAITING, MOST_KEPT)

    def close(self) -> None:
        self.jobs.close()

    def found(self, looked: Looked, layer: str) -> Found | None:
        """What is on disk; None where nothing is, or it is damaged."""
        return _read(_file(looked.digest, layer), layer)

    def job(self, looked: Looked, layers: Sequence[str]) -> Job | None:
        """The job that looks at these, or has failed to."""
        return self.jobs.find(_key(looked, layers))

    def start(self, looked: Looked, layers: Sequence[str], asked: Asked) -> Job:
        """Look at them, and at the same of what the network began with. raises: BusyError if too much waits."""

        def work(tell: Tell) -> None:
            climb_all(looked, layers, tell)
            note(asked)

        return self.jobs.submit(_key(looked, layers), work)


def climb_all(looked: Looked, layers: Sequence[str], tell: Tell) -> None:
    """Whatever is not on disk yet of these layers, trained or not. tell: hears of filters, and of how many."""
    from zoo.filters import answers

    wanted = [
        (each, layer, each.layers[layer])
        for each in (looked, looked.begins)
        if each is not None
        for layer in layers
        if _read(_file(each.digest, layer), layer) is None
    ]
    total, before = sum(filters for _, _, filters in wanted), 0
    for each, layer, filters in wanted:
        climbed = [before]

        def more(number: int, climbed: list[int] = climbed) -> None:
            climbed[0] += number
            tell(climbed[0], total)

        tell(before, total)
        found = answers(each.network, layer, seed=SEED, done=more)
        _keep(found, _file(each.digest, layer))
        before += filters


def note(asked: Asked) -> None:
    """Remember what was looked at, so that it can be found again without an address."""
    text = json.dumps(vars(asked), sort_keys=True)
    with written_whole(_folder() / f"{_short(text)}.json") as part:
        part.write_text(text, encoding="utf-8")


def noted() -> Iterator[Asked]:
    """What has been looked at, as it was asked for."""
    for file in sorted(_folder().glob("*.json")):
        try:
            yield Asked(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not ours, or half gone: it can be looked at again
            continue


def _key(looked: Looked, layers: Sequence[str]) -> str:
    return " ".join([looked.digest, *layers])


def _folder() -> Path:
    return home() / "filters"


def _file(digest: str, layer: str) -> Path:
    """Named by all that the outcome depends on; the samples of a wave follow from network and layer."""
    return _folder() / f"{_short(f'{PROCEDURE} {digest} {layer} {SEED}')}.npz"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _keep(found: Answers, file: Path) -> None:
    pooled, together = pool(found.spectra)
    arrays = {
        "waves": found.waves,
        "spectra": pooled,
        "bin_hz": together * found.frequencies_hz[1],
        "peaks_hz": found.peaks_hz,
        "sample_rate_hz": found.sample_rate_hz,
        "samples": found.waves.shape[1],
    }
    with written_whole(file) as part, part.open("wb") as out:
        np.savez(out, **arrays)


def pool(spectra: NDArray[np.float64]) -> tuple[NDArray[np.float32], int]:
    """(filters, bins) in fewer bins: so many together, by their highest. returns: them, and how many."""
    together = -(-spectra.shape[1] // MOST_BINS)
    filled = np.pad(spectra, ((0, 0), (0, -spectra.shape[1] % together)), mode="edge")
    return filled.reshape(len(spectra), -1, together).max(axis=2).astype(np.float32), together


def _read(file: Path, layer: str) -> Found | None:
    try:
        # One array at a time: waves can be large
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as kept:
            rate, samples, bin_hz = (kept[name].item() for name in ("sample_rate_hz", "samples", "bin_hz"))
            return Found(layer, rate, kept["spectra"], bin_hz, kept["peaks_hz"], samples, file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
