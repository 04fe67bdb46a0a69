"""A split as a network hears it: at its own sample rate."""

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

import datasets
import zoo
from datasets.split import Split
from search.trials.team import ALONE, Team


class Feed:
    """The batches and clips of a split, resampled on its device where the rates differ.

    entry:  whose `input_samples` at `sample_rate_hz` make a segment. split: opened with `entry.samples_at(its rate)`.
    """

    def __init__(self, split: Split, entry: zoo.Entry) -> None:
        self.split, self.entry = split, entry
        self.resample = zoo.Resampler(split.sample_rate_hz, entry).to(split.device)

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.split)

    def batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        crops: bool = False,
        limit: int | None = None,
        skip: int = 0,
        team: Team = ALONE,
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """One epoch, of which a team's process gets its share of each batch; see Split.batches."""
        shared = {"rank": team.rank, "ranks": team.ranks}
        for wave, tags in self.split.batches(batch_size, seed, epoch, crops, limit, skip=skip, **shared):
            yield self._heard(wave), tags

    def clips_together(self, most: int, team: Team = ALONE) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """All segments of some clips of this process's share; see Split.clips_together."""
        is_resampled = self.split.sample_rate_hz != self.entry.sample_rate_hz
        for clips, counts, wave in self.split.clips_together(most, team.rank, team.ranks):
            # Clip by clip, as resampling more of them at once may round in another way
            parts = wave.split(counts) if is_resampled else [wave]
            yield clips, counts, torch.cat([self._heard(each) for each in parts])

    @torch.no_grad()
    def _heard(self, wave: Tensor) -> Tensor:
        return self.resample(wave)


def open_feed(
    dataset: str, split: str, convention: str | None, entry: zoo.Entry, device: str | torch.device = "cpu"
) -> Feed:
    """Open a split of a data set for a network. raises: DatasetError as datasets.open and datasets.card do."""
    samples = entry.samples_at(datasets.card(dataset).sample_rate_hz)
    return Feed(datasets.open(dataset, split, samples, convention, device=device), entry)
