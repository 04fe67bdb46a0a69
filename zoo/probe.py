"""What the filters of a network have learned to hear: waves that they answer to, their spectra, pictures of both.

    python -m zoo.probe model=models:/mtat-table2@champion out=filters
    python -m zoo.probe network=samplecnn_m3_n9_s3 layers=1..6 out=untrained

Words (key=value):
    model=    models:/<name>@<alias>, models:/<name>/<version>, runs:/<run>/checkpoint, a folder of a checkpoint or of a
              trial, or a trial's signature
    network=  instead of model=, a name of the zoo, with the weights it begins with: for comparison
    out=      the folder to write to
    layers=   1..6 (the default; fewer where there are fewer), 2, or names such as front.activation,body.3.activation
    samples=  of each wave; by default 729 as in the paper, or as many as the layer needs
    centred=  true (the default): the spectrum of the authors' script, whose window stands over the wave's beginning;
              false: over the whole wave
    seed=0    of the noise that the waves begin with

Writes for each layer NAME.npz (waves, spectra, frequencies_hz, peaks_hz, order) and NAME.waves.png and .svg (the
paper's Figure 3), and for all of them spectra.png and .svg (Figure 2): a column for each filter, ordered by where its
spectrum is highest; the dashed curve is the mel scale.
Exit codes: 0 done, 2 the words or what they lead to were wrong, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import DatasetError, reason
from datasets.words import command
from zoo.commands import whole_number
from zoo.errors import ZooError, did_you_mean
from zoo.registry import entry
from zoo.trained.locate import check
from zoo.trained.targets import check_folder

if TYPE_CHECKING:
    from zoo.filters import Answers
    from zoo.network import WaveNetwork

WORDS = ("model", "network", "out", "layers", "samples", "centred", "seed")
LAYERS = "1..6"  # the paper's: the wave of 729 samples is too short for a seventh


def main(words: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    try:
        _probe(_parsed(words))
    except (ZooError, DatasetError, OSError) as error:
        print(reason(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command begins again", file=sys.stderr)
        return 130
    return 0


def _parsed(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in WORDS:
            raise ZooError(f"{word!r} is no word of this command{did_you_mean(key, WORDS)}; see --help")
        if not value or key in given:
            raise ZooError(f"{key}= wants one value, once")
        given[key] = value
    if "out" not in given or ("model" in given) == ("network" in given):
        example = command("zoo.probe", ["model=...", "out=filters"])
        raise ZooError(f"give out=FOLDER, and either model= or network=: {example}")
    if given.get("centred", "true") not in ("true", "false"):
        raise ZooError(f"centred={given['centred']}: give true or false")
    if not given.get("seed", "0").isdigit():
        raise ZooError(f"seed={given['seed']}: give a whole number of 0 or more")
    return given


def _probe(given: Mapping[str, str]) -> None:
    out = check_folder(given["out"])
    samples = whole_number(given, "samples", 1) if "samples" in given else None
    if "model" in given:
        check(given["model"])
    else:
        entry(given["network"])
    from rich.console import Console
    from rich.progress import Progress

    from zoo.filters import answers

    network, title = _network(given)
    chosen = _layers(network, given.get("layers", LAYERS))
    out.mkdir(parents=True, exist_ok=True)
    found = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for layer in chosen:
            task = bar.add_task(layer, total=None)
            heard = answers(
                network,
                layer,
                samples,
                centred=given.get("centred") != "false",
                seed=int(given.get("seed", 0)),
                done=lambda filters, task=task: bar.advance(task, filters),  # type: ignore[misc]
            )
            _write(heard, out, title)
            found.append(heard)
    _draw_all(found, out, title)


def _network(given: Mapping[str, str]) -> tuple[WaveNetwork, str]:
    """The network, and what the pictures are headed with."""
    import torch

    import zoo
    from zoo.network import WaveNetwork

    if "model" in given:
        tagger = zoo.load(given["model"])
        network, title = tagger.network, f"{tagger.card.network}, {given['model']}"
    else:
        torch.manual_seed(int(given.get("seed", 0)))
        network, title = zoo.create(given["network"]), f"{given['network']}, not trained"
    assert isinstance(network, WaveNetwork)  # as all of the zoo are
    return network, title


def _layers(network: WaveNetwork, wanted: str) -> list[str]:
    """The names of the layers that the words mean. raises: ZooError for one that the network does not have."""
    from zoo.filters import climbable, layers_of

    known = layers_of(network)
    if not wanted[0].isdigit():
        names = wanted.split(",")
        for name in names:  # all of them before the first is looked at, which takes its time
            network.layer(name)
        return names
    first, dots, last = wanted.partition("..")
    if not first.isdigit() or (dots and not last.isdigit()) or not 1 <= int(first) <= int(last or first):
        raise ZooError(f"layers={wanted}: give 1..6, a number, or names such as {known[0]}")
    if int(first) > len(known):
        raise ZooError(
            f"layers={wanted}: {network.name} has {len(known)} layers with filters: {', '.join(known)}"
        )
    if not dots:
        return [known[int(first) - 1]]
    # Of the last layers a wave may make one frame, which a batch norm can't go by: a range ends before them.
    can_be, chosen = climbable(network), known[int(first) - 1 : int(last)]
    return [layer for layer in chosen if layer in can_be] or chosen


def _write(found: Answers, out: Path, title: str) -> None:
    import numpy as np

    from zoo.filter_pictures import draw_waves

    np.savez(
        out / f"{found.layer}.npz",
        waves=found.waves,
        spectra=found.spectra,
        frequencies_hz=found.frequencies_hz,
        peaks_hz=found.peaks_hz,
        order=found.order,
    )
    draw_waves(found, f"{title}: {found.layer}", out / f"{found.layer}.waves")


def _draw_all(found: Sequence[Answers], out: Path, title: str) -> None:
    from zoo.filter_pictures import draw_spectra

    draw_spectra(found, title, out / "spectra")
    for each in found:
        low, middle, high = (each.peaks_hz[each.order[at]] for at in (0, len(each.order) // 2, -1))
        print(
            f"{each.layer}: {len(each.waves)} filters, peaks from {low:,.0f} to {high:,.0f} Hz, "
            f"half of them below {middle:,.0f} Hz"
        )
    print(f"written: {out}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
