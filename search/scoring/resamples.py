"""What a network scores on each resample of the clips: made once when a trial ends, and kept.

All trials of one protocol are scored on the same resamples, so the difference of any two is one subtraction, and a
leaderboard of a hundred networks needs no second look at their clips.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from datasets.whole import written_whole
from search import files
from search.errors import SearchError
from search.scoring import intervals, score_table
from search.scoring.intervals import Interval
from search.scoring.metrics import METRICS
from search.scoring.score_table import ClipScores, SplitScores

CLIP, ARTIST = "clip", "artist"


@dataclass(frozen=True, eq=False)
class Resampled:
    """values: (resamples,) by `split.unit.metric`, as `test.artist.roc_auc`.
    groups: how many clips or artists were drawn from, by `split.unit`; a unit that says nothing is not there.
    draws:  of the same, what tells two sets of resamples apart.
    """

    values: Mapping[str, NDArray[np.float64]]
    groups: Mapping[str, int]
    draws: Mapping[str, str]

    def units(self, split: str) -> list[str]:
        return [unit for unit in (CLIP, ARTIST) if f"{split}.{unit}" in self.groups]

    def deciding(self, split: str) -> str:
        """The unit that decides: artists where they are known; see comparing.py."""
        return self.units(split)[-1]

    def interval(self, split: str, unit: str, metric: str, seen: float) -> Interval:
        """seen: the value on the clips themselves."""
        values = self.values[f"{split}.{unit}.{metric}"]
        return intervals.of_replicates(values, self.groups[f"{split}.{unit}"], seen)


def of(said: ClipScores) -> Resampled:
    """Score all splits on their resamples."""
    values: dict[str, NDArray[np.float64]] = {}
    groups, draws = {}, {}
    for name, split in said.splits.items():
        for unit, numbers in _units(split).items():
            drawn = intervals.draw(numbers)
            key = f"{name}.{unit}"
            found = intervals.replicates(split.labels, split.probabilities, drawn)
            values |= {f"{key}.{metric}": found[metric] for metric in METRICS}
            groups[key] = intervals.count(numbers)
            draws[key] = hashlib.sha256(drawn.astype(np.uint16).tobytes()).hexdigest()[:16]
    return Resampled(values, groups, draws)


def _units(split: SplitScores) -> dict[str, NDArray[np.intp]]:
    numbers = {CLIP: intervals.numbered(None, len(split.clip_ids))}
    if split.artists_known:
        numbers[ARTIST] = intervals.numbered(split.artists, len(split.clip_ids))
    return numbers


def write(path: Path, resampled: Resampled) -> None:
    about = {"groups": json.dumps(dict(resampled.groups)), "draws": json.dumps(dict(resampled.draws))}
    with written_whole(path) as part:
        part.write_bytes(save(dict(resampled.values), metadata=about))


def read(path: Path) -> Resampled | None:
    """Read what `write` wrote; None where there is no file. raises: SearchError if it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            about = file.metadata()
        return Resampled(values, json.loads(about["groups"]), json.loads(about["draws"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SearchError(f"{path} is damaged ({error}); remove it to have it made anew") from error


def of_trial(signature: str) -> Resampled | None:
    """Of a trial that has ended. Made anew where only the scores are there; None where those can't be read either."""
    folder = files.trial_folder(signature)
    if kept := read(folder / files.RESAMPLES):
        return kept
    try:
        found = of(score_table.read(folder / files.SCORES))
    except SearchError:
        return None
    with suppress(OSError):  # it may be somebody else's folder; then it is made again the next time
        write(folder / files.RESAMPLES, found)
    return found
