"""What a network hears in a song, segment by segment."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import AudioError
from datasets.words import command
from zoo import ZooError

if TYPE_CHECKING:
    from dashboards.jobs import Tell
    from zoo.trained.tagger import Tagger

MOST_SECONDS = 2 * 3600.0
MOST_NAME = 120  # characters of a file's name that are shown


@dataclass(frozen=True, eq=False)
class Heard:
    """The tags of a song over time.

    name: the file's, as it was called. seconds: how long it is. segment_seconds: of each column.
    said: (segments, tags), the probabilities. mean: (tags,), of the whole song, as clips are tagged in evaluation.
    """

    name: str
    model: str
    tags: tuple[str, ...]
    seconds: float
    segment_seconds: float
    said: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.said.mean(axis=0)

    def record(self) -> dict[str, Any]:
        """For the page: tags in the order of their mean, the likeliest first."""
        order = np.argsort(-self.mean, kind="stable")
        return {
            "name": self.name,
            "model": self.model,
            "seconds": self.seconds,
            "segment_seconds": self.segment_seconds,
            "tags": [self.tags[tag] for tag in order],
            "mean": self.mean[order].round(4).tolist(),
            "said": self.said[:, order].T.round(4).tolist(),
        }

    def as_csv(self) -> str:
        """A line a segment, a column a tag."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["start_seconds", *map(_harmless, self.tags)])
        for at, row in enumerate(self.said):
            writer.writerow([f"{at * self.segment_seconds:.3f}", *(f"{value:.6f}" for value in row)])
        return text.getvalue()


def hear(
    tagger: Tagger, file: Path, name: str, model: str, tell: Tell, most_seconds: float = MOST_SECONDS
) -> Heard:
    """The tags of a file over time, in the memory of a few segments.

    name:   what the file is called where it comes from; errors name it so.
    tell:   hears how many seconds have been heard.
    raises: ZooError, in one line, for a file without audio, or one that is longer than most_seconds.
    """
    from datasets.audio import decode_blocks
    from zoo.trained.tagger import cut

    name = shortened(name)
    rate, length = tagger.sample_rate_hz, tagger.segment_samples
    samples = [0]
    said: list[NDArray[np.float64]] = []
    try:
        blocks = _bounded(decode_blocks(file, rate), samples, int(most_seconds * rate))
        segments = cut(blocks, length)
        while batch := list(islice(segments, tagger.segments_at_once)):
            said.append(tagger.probabilities(np.stack(batch)))
            tell(sum(map(len, said)) * length / rate, 0)
    except AudioError as error:
        raise ZooError(f"{name} is {error.reason}: {error.detail}") from error
    except _TooLong as error:
        raise ZooError(
            f"{name} is longer than {most_seconds / 3600:.3g} h; give a shorter one, or use {command('zoo', ['tag'])}"
        ) from error
    except (MemoryError, RuntimeError) as error:  # torch's, where memory runs out
        why = (str(error).splitlines() or ["out of memory"])[0]
        raise ZooError(f"{name} could not be tagged: {why}") from error
    return Heard(name, model, tagger.tags, samples[0] / rate, length / rate, np.concatenate(said))


class _TooLong(Exception):
    pass


def _bounded(
    blocks: Iterable[NDArray[np.float32]], samples: list[int], most: int
) -> Iterator[NDArray[np.float32]]:
    """The blocks, counted, until they are too many."""
    for block in blocks:
        samples[0] += len(block)
        if samples[0] > most:
            raise _TooLong
        yield block


def shortened(name: str) -> str:
    """A file's name, fit to be shown: in one line, and not too long."""
    name = "".join(character if character.isprintable() else "?" for character in name) or "the file"
    return name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"


def _harmless(tag: str) -> str:
    """A tag that no spreadsheet takes for a formula."""
    return f"'{tag}" if tag.startswith(("=", "+", "-", "@", "\t", "\r")) else tag
