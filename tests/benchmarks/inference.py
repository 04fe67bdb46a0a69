"""How many seconds of audio are tagged in a second: one file, a folder, and a plain loop over segments, in one run.

    python -m tests.benchmarks.inference

Words (key=value):
    networks=A,B   by name, with fresh weights (default: 3^9, a frame-level one and a mel one)
    source=FOLDER  audio files to tag (default: noise of 29.1 s at the network's rate, so that no decoder is measured)
    files=8        how many, the first in the order of their names
    rounds=5       of which the medians are taken, after one to get warm; all ways take the same files in turn
    threads=1
    device=cpu     or cuda

Prints Markdown. The plain loop is what a script does: the whole file decoded, and segment by segment through the
network of torch's own layers in evaluation mode, without gradients. Ratios are medians within a round, of processor
seconds on a processor. "Folded layers" are what a network is without its blocks as products (zoo/fast/asked.py).
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest.mock import patch

from datasets import words as typed
from datasets.errors import DatasetError

from .command import Say, load, names, run, whole_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from zoo.trained.tagger import Tagger

    from .crowd import Taken

KINDS = ("samplecnn_m3_n9_s3", "samplecnn_m3_n4_s729", "melcnn_m3_n4_s729_w729")
SECONDS = 29.1
AUDIO = (".mp3", ".wav", ".flac", ".ogg")
HEADS = ("network", "way", "audio s a second", "audio s a core second", "times the loop")


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...] = KINDS
    source: str | None = None
    files: int = 8
    rounds: int = 5
    threads: int = 1
    device: str = "cpu"


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    least = {"files": (1, 8), "rounds": (1, 5), "threads": (1, 1)}
    given = typed.parse(words, ("networks", "source", *least, "device"))
    if given.get("device", "cpu") not in ("cpu", "cuda"):
        raise DatasetError(f"device={given['device']}: give cpu or cuda")
    listed, numbers = names(given, KINDS), whole_numbers(given, least)
    return Settings(listed, given.get("source"), **numbers, device=given.get("device", "cpu"))


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure network after network. raises: DatasetError for too few files, or where there is no GPU."""
    import torch

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise DatasetError("device=cuda: this machine has no GPU that torch can use; take device=cpu")
    torch.set_num_threads(wanted.threads)
    say(f"{wanted.files} files, {wanted.threads} threads, {wanted.device}, load {load()}\n")
    say(f"| {' | '.join(HEADS)} |\n| --- | --- |{' ---: |' * (len(HEADS) - 2)}")
    for name in wanted.networks:
        tagger = a_tagger(name, wanted.device)
        with tempfile.TemporaryDirectory(prefix="inference-") as folder:
            files = (
                found(wanted) if wanted.source else noise(Path(folder), wanted.files, tagger.sample_rate_hz)
            )
            clock = "wall" if wanted.device == "cuda" else "core"
            for line in rows(name, measured(tagger, files, wanted), length(files), clock):
                say(line)
    say(f"\nload after: {load()}")


def a_tagger(name: str, device: str) -> "Tagger":
    """Of a network with fresh weights: they take as long as others."""
    import torch

    import zoo
    from zoo.trained.tagger import Tagger

    torch.manual_seed(0)
    network = zoo.create(name).eval()
    card = zoo.Card.of(network, [f"tag {i}" for i in range(network.n_tags)])
    return Tagger(network.to(device), card, "fresh weights")


def found(wanted: Settings) -> list[Path]:
    """The files of the folder. raises: DatasetError for too few."""
    files = sorted(file for file in Path(wanted.source or "").rglob("*") if file.suffix.lower() in AUDIO)
    files = [file for file in files if file.stat().st_size]
    if len(files) < wanted.files:
        raise DatasetError(f"{wanted.source} has {len(files)} audio files, files={wanted.files} are wanted")
    return files[: wanted.files]


def noise(folder: Path, count: int, rate_hz: int) -> list[Path]:
    """So many wav files."""
    import numpy as np
    import soundfile

    random = np.random.default_rng(0)
    files = [folder / f"{i}.wav" for i in range(count)]
    for file in files:
        soundfile.write(file, random.uniform(-0.5, 0.5, int(SECONDS * rate_hz)), rate_hz)
    return files


def length(files: Sequence[Path]) -> float:
    """Seconds of audio in them."""
    import soundfile

    return float(sum(soundfile.info(file).duration for file in files))


def measured(tagger: "Tagger", files: Sequence[Path], wanted: Settings) -> dict[str, list["Taken"]]:
    """All files in each way, in turn."""
    from .crowd import timed
    from .stepping import in_plain_layers

    plain, layers = in_plain_layers(deepcopy(tagger.network)).eval(), by_layers(tagger)
    ways: dict[str, Callable[[], None]] = {
        "a plain loop over segments": lambda: _take(plainly(plain, tagger, files)),
        "file by file, folded layers": lambda: _take(layers(file) for file in files),
        "file by file": lambda: _take(tagger(file) for file in files),
        "a folder": lambda: _take(_folder(tagger, files)),
    }
    for way in ways.values():
        way()
    rounds = [{way: timed(tag, wanted.device) for way, tag in ways.items()} for _ in range(wanted.rounds)]
    return {way: [each[way] for each in rounds] for way in ways}


def by_layers(tagger: "Tagger") -> "Tagger":
    """The same without zoo/fast/asked.py: torch's own layers, batch norm folded into them."""
    from zoo.trained import folded

    other = replace(tagger)
    with patch.object(folded, "ask_together", lambda network: None):
        assert other._asked  # made now, and kept
    return other


def plainly(network: "nn.Module", tagger: "Tagger", files: Sequence[Path]) -> Iterator["NDArray"]:
    """(n_tags,) of every file, as a script does it: the network in evaluation, a segment at a time."""
    import torch

    from datasets.audio import decode

    device = next(network.parameters()).device
    for file in files:
        wave = torch.from_numpy(decode(file, tagger.sample_rate_hz)).to(device)
        with torch.no_grad():
            whole = wave[: len(wave) // tagger.segment_samples * tagger.segment_samples]
            logits = [network(part[None]) for part in whole.split(tagger.segment_samples)]
        yield torch.cat(logits).sigmoid().mean(dim=0).cpu().numpy()


def _folder(tagger: "Tagger", files: Sequence[Path]) -> Iterator[object]:
    from zoo.tagging import tag_files

    return tag_files(tagger, files)


def _take(every: Iterator[object]) -> None:
    for _ in every:
        pass


def rows(name: str, taken: dict[str, list["Taken"]], audio_seconds: float, clock: str) -> Iterator[str]:
    """A line of the table for each way; "times" compares it with the plain loop by one of the clocks."""
    first = next(iter(taken.values()))
    for way, rounds in taken.items():
        pairs = zip(rounds, first, strict=True)
        times = median(getattr(theirs, clock) / getattr(ours, clock) for ours, theirs in pairs)
        rates = [audio_seconds / median(getattr(each, of) for each in rounds) for of in ("wall", "core")]
        yield "| " + " | ".join([name, way, *(f"{rate:,.0f}" for rate in rates), f"{times:.2f}"]) + " |"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
