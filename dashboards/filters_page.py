"""Page Filters: what the filters of a network have learned to hear, beside the same network before it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboards import filter_figures
from dashboards.blocks import Block, Choice, Heading, Link, Page, Table, Text, Widget
from dashboards.climbs import Asked, Climbs, Found, noted
from dashboards.jobs import ONE_LINE, BusyError, Job
from dashboards.networks import PAPERS_BEST, ZOO, Looked, Networks
from dashboards.reading import Reading
from datasets.words import command

NAME, TITLE = "filters", "Filters"
ALL, FIRST = "all", 6  # the paper's six: the wave of 729 samples is too short for a seventh
SHOWN = 8  # waves and sounds
START = "/filters/jobs"


@dataclass(frozen=True)
class Filters:
    """What the page needs beside what is read. serving: whether it can have something looked at."""

    networks: Networks
    climbs: Climbs
    serving: bool = True

    def page(self, reading: Reading, choices: Mapping[str, str]) -> Page:
        """Choices of, network and layers say what is looked at, filter which of its filters is listened to."""
        # Before the menus are made, as the registry may answer meanwhile
        settled = self.networks.models.known
        asked, chosen = _chosen(self, reading, choices)
        if asked is None:
            return Page(NAME, TITLE, [Text(_ABOUT), *chosen], live=False)
        # An export waits; pages that are served are made one at a time, and a registry may be silent for minutes
        take = self.networks.begin if self.serving else self.networks.take
        looked = take(reading, asked.of, asked.network)
        if isinstance(looked, Job):
            failed = looked.state == "failed"  # asked once, as it may end meanwhile
            return Page(NAME, TITLE, [Text(_ABOUT), *chosen, self._coming(looked, failed)], live=not failed)
        layers, choice = _layers(looked, asked)
        blocks = [Text(_ABOUT), *chosen, *([choice] if self.serving else [])]
        if not layers:
            told = Text(f"{looked.title} has no layers with filters.")
            return Page(NAME, TITLE, [*blocks, told], live=self.serving and not settled)
        rows = [
            (each.title, [self.climbs.found(each, layer) for layer in layers])
            for each in (looked, looked.begins)
            if each is not None
        ]
        found = [(title, [layer for layer in row if layer is not None]) for title, row in rows]
        if all(len(row) == len(layers) for _, row in found):
            shown = _shown(found, asked, choices.get("filter", ""))
            return Page(NAME, TITLE, [*blocks, *shown], live=self.serving and not settled)
        job = self.climbs.job(looked, layers)
        live = job is not None and not job.ended
        return Page(NAME, TITLE, [*blocks, *self._missing(job, asked)], live or not settled)

    def _coming(self, job: Job, failed: bool) -> Block:
        """What is said while the network is not there."""
        if failed:
            return Text(job.why, alarming=True)
        before = self.networks.jobs.before(job)
        label = f"waiting: {before} before it" if before else "The network is being loaded."
        return Widget("progress.html", {"label": label, "done": 0, "of": 0})

    def _missing(self, job: Job | None, asked: Asked) -> list[Block]:
        """What is said while there is nothing to show."""
        if not self.serving:
            return [Text("These have not been looked at yet.")]
        if job is not None and not job.ended:
            before = self.climbs.jobs.before(job)
            label = f"waiting: {before} before it" if before else f"{job.done:.0f} of {job.of:.0f} filters"
            return [Widget("progress.html", {"label": label, "done": int(job.done), "of": int(job.of)})]
        again = [Text(job.why, alarming=True)] if job is not None and job.why else []
        button = {"label": "Find what its filters answer to", "address": f"{START}?{urlencode(vars(asked))}"}
        told = "This has not been looked at yet. It takes seconds to minutes, goes on when you leave, and is kept."
        return [*again, Text(told), Widget("button.html", button)]

    def routes(self, reading: Reading) -> list[Route]:
        async def start(request: Request) -> Response:
            words = [request.query_params.get(word, "") for word in ("of", "network", "layers")]
            try:
                await run_in_threadpool(self._start, reading, Asked(*words))
            except BusyError as error:
                return JSONResponse({"why": str(error)}, 503)
            except ONE_LINE as error:
                return JSONResponse({"why": str(error)}, 400)
            return JSONResponse({}, 202)

        return [Route(START, start, methods=["POST"])]

    def _start(self, reading: Reading, asked: Asked) -> None:
        looked = self.networks.take(reading, asked.of, asked.network)
        layers, _ = _layers(looked, asked)
        self.climbs.start(looked, layers, asked)


_ABOUT = (
    "What a filter has learned to hear shows in a wave that it answers to, found by gradient ascent (Lee et al. 2017, "
    "section 5.5). Beside a trained network stands the same one with weights that it might have begun with."
)


def _chosen(
    filters: Filters, reading: Reading, choices: Mapping[str, str]
) -> tuple[Asked | None, list[Block]]:
    """What is looked at, and the menus that lead elsewhere."""
    if not filters.serving:
        return _kept(filters.networks, reading, choices)
    groups = filters.networks.groups(reading)
    of = choices.get("of") or groups[0][0]
    members = filters.networks.members(reading, of)
    network = choices.get("network") or (PAPERS_BEST if of == ZOO else members[0][0])
    asked = Asked(of, network, choices.get("layers") or ALL)
    menus = [
        Choice(
            "Networks", [(text, Link(NAME, {"of": word})) for word, text in groups], dict(groups).get(of, "")
        ),
        Choice(
            "Network",
            [(text, Link(NAME, {"of": of, "network": word})) for word, text in members],
            dict(members).get(network, ""),
        ),
    ]
    return asked, [*menus]


def _kept(
    networks: Networks, reading: Reading, choices: Mapping[str, str]
) -> tuple[Asked | None, list[Block]]:
    """Where nothing can be looked at any more: what has been, and is still to be had."""
    looked_at = {f"{each.network}, layers {each.layers}": each for each in noted()}
    known = {label: each for label, each in looked_at.items() if networks.has(reading, each.of, each.network)}
    gone = ", ".join(label for label in looked_at if label not in known)
    told: list[Block] = [Text(f"Left out, as it can't be had: {gone}")] if gone else []
    if not known:
        none = "No filters have been looked at yet. The dashboards do that where they are served:"
        return None, [*told, Text(none), Text(command("dashboards"), code=True)]
    wanted = Asked(*(choices.get(word, "") for word in ("of", "network", "layers")))
    chosen = next((label for label, each in known.items() if each == wanted), next(iter(known)))
    options = [(label, Link(NAME, vars(each))) for label, each in known.items()]
    return known[chosen], [Choice("Network", options, chosen), *told]


def _layers(looked: Looked, asked: Asked) -> tuple[Sequence[str], Choice]:
    """The layers that are meant, and the menu of them."""
    first = list(looked.layers)[:FIRST]
    every = f"the first {len(first)}"
    named = {ALL: every, **{layer: f"{at}: {layer}" for at, layer in enumerate(looked.layers, 1)}}
    links = [(text, Link(NAME, {**vars(asked), "layers": layers})) for layers, text in named.items()]
    choice = Choice("Layers", links, named.get(asked.layers, every))
    return ([asked.layers] if asked.layers in looked.layers else first), choice


def _shown(found: Sequence[tuple[str, Sequence[Found]]], asked: Asked, wanted: str) -> list[Block]:
    blocks: list[Block] = [filter_figures.spectra(found), _table(found)]
    if len(found[0][1]) > 1:
        return [
            *blocks,
            Text("Choose a single layer to see the waves of its filters, and to listen to them."),
        ]
    layer = found[0][1][0]
    order = [int(which) for which in layer.order]
    shown = [order[round(at * (len(order) - 1) / (SHOWN - 1))] for at in range(SHOWN)]
    shown = list(dict.fromkeys(shown))  # of few filters, some would stand twice
    label = {which: f"{which}, peak at {layer.peaks_hz[which]:,.0f} Hz" for which in order}
    if wanted.isdecimal() and int(wanted) in label:
        shown = [int(wanted), *(which for which in shown if which != int(wanted))]
    links = [(label[which], Link(NAME, {**vars(asked), "filter": str(which)})) for which in order]
    return [
        *blocks,
        Heading("Waves"),
        Choice("Filter", links, label[shown[0]]),
        filter_figures.waves(layer, shown),
        Heading("Sounds"),
        Text("Each wave is repeated for a second, its seam smoothed, and made as loud as the others."),
        *filter_figures.sounds(layer, shown),
    ]


def _table(found: Sequence[tuple[str, Sequence[Found]]]) -> Table:
    """Where the peaks lie, in numbers."""
    columns = [
        "network",
        "layer",
        "filters",
        "samples of a wave",
        "lowest peak (Hz)",
        "middle (Hz)",
        "highest (Hz)",
    ]
    rows = []
    for title, layers in found:
        for layer in layers:
            peaks = layer.peaks_hz[layer.order]
            told = (f"{peaks[at]:,.0f}" for at in (0, len(peaks) // 2, -1))
            rows.append([title, layer.layer, f"{len(peaks):,}", f"{layer.samples:,}", *told])
    return Table(columns, rows, "Where the spectra are highest; half of the filters peak below the middle.")
