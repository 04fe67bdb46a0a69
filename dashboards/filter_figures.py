"""What filters answer to, drawn in the manner of the paper's Figures 2 and 3, and to be listened to."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dashboards.blocks import Figure, Sound
from dashboards.figures import plain

if TYPE_CHECKING:
    from dashboards.climbs import Found

COLOURS = "Viridis"  # even in print and for the colour-blind
MOST_SAMPLES = 4096  # of a wave that is drawn
LEAST_WIDTH_PX = 480
GAP = 0.02  # between panels, of the figure's width
LOUD, FADE_SECONDS = 0.8, 0.01


def spectra(rows: Sequence[tuple[str, Sequence[Found]]]) -> Figure:
    """Figure 2: a panel for each layer, a row for each network; a column of a panel is a filter.

    rows: a title, and the layers of the network it is of.
    """
    layers = [found.layer for found in rows[0][1]]
    layout: dict[str, Any] = {
        "showlegend": False,
        "annotations": [],
        "margin": {"l": 60, "r": 10, "t": 60, "b": 50},
    }
    # A longer wave has more power in every bin: a layer's colours are its own, and the same for all networks.
    reaches = [_reach([found[column] for _, found in rows]) for column in range(len(layers))]
    traces: list[dict[str, Any]] = []
    for row, (title, found) in enumerate(rows):
        for column, panel in enumerate(found):
            number = row * len(layers) + column + 1
            traces += _panel(panel, "" if number == 1 else str(number), reaches[column])
            _place(layout, number, (row, len(rows)), (column, len(layers)), panel)
        layout["annotations"].append(_head(title, row, len(rows)))
    told = (
        "Spectra of the waves that filters answer to, after Figure 2 of Lee et al. 2017: a column for each filter, in "
        "the order of the frequency where its spectrum is highest; the dashed curve is the mel scale. Colours are of "
        "log10(1 + 10 |X|²), from the median to the highest of each layer. Gradient ascent of 18 steps from noise. "
        f"Layers from the left: {', '.join(layers)}."
    )
    return Figure(
        "spectra", traces, layout, told, 300 * len(rows) + 60, max(LEAST_WIDTH_PX, 150 * len(layers) + 120)
    )


def _reach(panels: Sequence[Found]) -> tuple[float, float]:
    """From where to where the colours go: what is below the median of a layer's spectra is its noise."""
    values = np.concatenate([found.spectra.ravel() for found in panels])
    low, high = float(np.median(values)), float(values.max())
    return low, max(high, low + 1e-6)


def _panel(found: Found, axis: str, reach: tuple[float, float]) -> list[dict[str, Any]]:
    """The heat map of a layer, and the mel curve over it."""
    from zoo.filters import mel_curve_hz

    filters = len(found.peaks_hz)
    mel_khz = mel_curve_hz(filters, found.sample_rate_hz) / 1000
    place = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
    return [
        {
            "type": "heatmap",
            "z": _packed(found.spectra[found.order].T),
            "x0": 1,
            "dx": 1,
            "y0": 0,
            "dy": found.bin_hz / 1000,
            "colorscale": COLOURS,
            "showscale": False,
            "zmin": reach[0],
            "zmax": reach[1],
            "hovertemplate": "filter %{x} in this order<br>%{y:.2f} kHz<br>%{z:.2f}<extra></extra>",
            **place,
        },
        {
            "type": "scatter",
            "mode": "lines",
            "x": list(range(1, filters + 1)),
            "y": mel_khz.round(4).tolist(),
            "line": {"color": "#ffffff", "width": 1.5, "dash": "dash"},
            "hovertemplate": "mel scale<br>%{y:.2f} kHz<extra></extra>",
            **place,
        },
    ]


def _packed(values: NDArray[np.float32]) -> dict[str, str]:
    """Numbers as Plotly reads them by the thousand: their bytes in base 64."""
    shape = ", ".join(map(str, values.shape))
    return {"dtype": "f4", "bdata": base64.b64encode(values.astype("<f4").tobytes()).decode(), "shape": shape}


def _place(
    layout: dict[str, Any], number: int, row: tuple[int, int], column: tuple[int, int], found: Found
) -> None:
    """The axes of a panel. row, column: which, of how many."""
    axis = "" if number == 1 else str(number)
    wide, high = 1 / column[1], 1 / row[1]
    left, top = column[0] * wide, 1 - row[0] * high
    last, first = row[0] == row[1] - 1, column[0] == 0
    layout[f"xaxis{axis}"] = {
        "domain": [left, left + wide - GAP],
        "anchor": f"y{axis}",
        "title": {"text": "filters by peak" if last else ""},
        "showgrid": False,
    }
    layout[f"yaxis{axis}"] = {
        "domain": [top - high + 0.07, top - 0.04],
        "anchor": f"x{axis}",
        "range": [0, found.sample_rate_hz / 2000],
        "title": {"text": "frequency (kHz)" if first else ""},
        "showticklabels": first,
        "showgrid": False,
    }


def _head(title: str, row: int, rows: int) -> dict[str, Any]:
    return {
        "text": plain(title),
        "x": 0,
        "y": 1 - row / rows - 0.03,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def waves(found: Found, chosen: Sequence[int]) -> Figure:
    """Figure 3: the waves of some filters above each other, each to its own scale."""
    samples, all_waves = min(found.samples, MOST_SAMPLES), found.waves()
    step_ms = 1000 / found.sample_rate_hz
    traces = []
    for row, which in enumerate(chosen):
        wave_ = all_waves[which, :samples]
        scaled = 0.45 * wave_ / max(float(np.abs(wave_).max()), 1e-9) - row
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x0": 0,
                "dx": step_ms,
                "y": _packed(scaled.astype(np.float32)),
                "line": {"width": 1.2, "color": "#0072b2"},
                "hovertemplate": f"filter {which}<br>%{{x:.1f}} ms<extra></extra>",
            }
        )
    layout = {
        "showlegend": False,
        "xaxis": {"title": {"text": "time (ms)"}},
        "yaxis": {
            "title": {"text": "filter, and its peak (Hz)"},
            "tickvals": [-row for row in range(len(chosen))],
            "ticktext": [f"{which}: {found.peaks_hz[which]:,.0f}" for which in chosen],
            "zeroline": False,
        },
    }
    cut = f" Only the first {samples:,} samples are drawn." if samples < found.samples else ""
    told = (
        f"Waves that filters of {found.layer} answer to, after Figure 3 of Lee et al. 2017, each to its own scale; "
        f"{found.samples:,} samples at {found.sample_rate_hz:,} Hz.{cut}"
    )
    return Figure("waves", traces, layout, told, 56 * len(chosen) + 80)


def sounds(found: Found, chosen: Sequence[int]) -> list[Sound]:
    """The waves of some filters, each again and again for a second."""
    waves_, rate_hz = found.waves(), found.sample_rate_hz
    return [
        Sound(
            f"Filter {which}, peak at {found.peaks_hz[which]:,.0f} Hz",
            as_wav(loop(waves_[which], rate_hz), rate_hz),
        )
        for which in chosen
    ]


def loop(samples: NDArray[np.float32], rate_hz: int, seconds: float = 1.0) -> NDArray[np.float32]:
    """A wave repeated for so long, or once where it is longer, as loud as may be.

    The end of each turn goes over into the beginning of the next, so that the seam is not what is heard.
    """
    once = samples.astype(np.float64)
    wanted = int(rate_hz * seconds)
    if len(once) < wanted:
        over = len(once) // 8
        rise = np.linspace(0, 1, over, endpoint=False)
        once[:over] = once[:over] * rise + once[len(once) - over :] * (1 - rise)
        turn = once[: len(once) - over]
        once = np.tile(turn, -(-wanted // len(turn)))[:wanted]
    fade = np.minimum(1, np.arange(len(once)) / max(FADE_SECONDS * rate_hz, 1))
    once = once * fade * fade[::-1]
    return (LOUD * once / max(float(np.abs(once).max()), 1e-9)).astype(np.float32)


def as_wav(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    """16 bit, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()
