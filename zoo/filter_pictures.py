"""The answers of filters as pictures, in the manner of the paper's Figures 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.filters import Answers, mel_curve_hz

__all__ = ["draw_spectra", "draw_waves"]

KINDS = ("png", "svg")
COLOURS = "magma"  # even in print and for the colour-blind
WAVES_SHOWN = 8
DPI = 120


def draw_spectra(layers: Sequence[Answers], title: str, file: Path) -> list[Path]:
    """One panel per layer: a column per filter in the order of peaks, frequency upwards; the curve is the mel scale.

    file: without an ending. returns: what was written.
    """
    figure = Figure(figsize=(2.4 * len(layers) + 1, 3.6), layout="constrained")
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for number, (panel, found) in enumerate(zip(panels, layers, strict=True), 1):
        _spectra(panel, found)
        panel.set_title(f"{number}: {found.layer}", fontsize=8)
    panels[0].set_ylabel("frequency (kHz)")
    figure.suptitle(title, fontsize=9)
    return _write(figure, file)


def _spectra(panel: Axes, found: Answers) -> None:
    filters, top_khz = len(found.waves), found.sample_rate_hz / 2000
    panel.imshow(
        found.spectra[found.order].T,
        origin="lower",
        aspect="auto",
        cmap=COLOURS,
        interpolation="nearest",
        extent=(0, filters, 0, top_khz),
    )
    panel.plot(
        np.arange(filters) + 0.5,
        mel_curve_hz(filters, found.sample_rate_hz) / 1000,
        color="white",
        linestyle="--",
        linewidth=0.8,
    )
    panel.set_xlabel("filters, by peak")


def draw_waves(found: Answers, title: str, file: Path, shown: int = WAVES_SHOWN) -> list[Path]:
    """Waves of filters evenly spaced in the order of peaks. file: without an ending."""
    order = found.order
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(shown, len(order))).round().astype(int))]
    figure = Figure(figsize=(6, 0.9 * len(chosen) + 0.8), layout="constrained")
    panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
    times_ms = np.arange(found.waves.shape[1]) / found.sample_rate_hz * 1000
    for panel, which in zip(panels, chosen, strict=True):
        panel.plot(times_ms, found.waves[which], color="black", linewidth=0.7)
        panel.set_yticks([])
        panel.set_ylabel(
            f"{which}\n{found.peaks_hz[which]:,.0f} Hz", rotation=0, ha="right", va="center", fontsize=7
        )
    panels[-1].set_xlabel("time (ms)")
    figure.suptitle(title, fontsize=9)
    return _write(figure, file)


def _write(figure: Figure, file: Path) -> list[Path]:
    written = [file.with_name(f"{file.name}.{kind}") for kind in KINDS]
    for path in written:
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
    return written
