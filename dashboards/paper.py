"""Page "Paper": the paper's tables in its own layout, its numbers and ours, and whether ours reproduce them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards import tables
from dashboards.blocks import Block, Cell, Choice, Facts, Heading, Link, Page, Table, Text, Verdict
from dashboards.depth import figure
from dashboards.measured import Group, by_budget, chosen, entry_of, labels, measured
from dashboards.reading import Reading
from dashboards.tables import Half, Line, System
from datasets.words import command
from search.results import leaderboard
from search.results.leaderboard import Row
from search.scoring import literature
from search.scoring.intervals import Interval
from search.scoring.protocol import describe
from zoo import PaperRow

NAME, TITLE = "paper", "Paper"
# Where the published number lies, seen from ours.
VERDICTS: Mapping[str, Verdict] = {
    literature.WITHIN: "reproduced",
    literature.ABOVE: "below",
    literature.BELOW: "above",
}
OTHER_CLIPS = "other clips"
HOW_TO_READ = (
    "Ours: macro ROC-AUC of the test clips with its 95 % interval, over artists where they are known, else over clips; "
    "means over the seeds. Of several trainings of a network the one stands here that the validation clips call best. "
    "reproduced: the paper's number lies within our interval; above, below: ours lies there. A verdict is given only "
    "where the test clips are the paper's."
)
HALF = ("model", "n", "layers", "filter length & stride", "AUC, paper", "AUC, ours", "verdict")
SHORT = "Filter length and stride of the first convolution in samples."
TABLE_3 = ("", "n", "window (samples)", "hop (samples)", "AUC, paper", "AUC, ours", "verdict")
TABLE_4 = ("input type", "model", "network", *("AUC, paper", "AUC, ours", "verdict") * 2)


@dataclass(frozen=True)
class Ours:
    """What was measured under one protocol with one budget. rows: by network."""

    group: Group | None
    rows: Mapping[str, Row]
    reading: Reading

    @classmethod
    def of(cls, group: Group | None, reading: Reading) -> Ours:
        if group is None:
            return cls(None, {}, reading)
        # A network as the paper has it, and not one with other options.
        own = [each.ended for each in group.members if entry_of(each.trial.record.settings).paper]
        board = leaderboard.unranked(own, None) if own else []
        return cls(group, {row.network: row for row in reversed(board)}, reading)

    def cells(self, network: str, paper: PaperRow | None) -> tuple[Cell, Cell, Cell]:
        """The paper's number, ours, and the verdict."""
        if paper is None:
            return Cell(""), Cell(""), Cell("")
        told = Cell(f"{paper.auc:.4f}", hint=paper.doubt)
        row = self.rows.get(network)
        if row is None or self.group is None:
            return told, Cell(""), Cell("not run", verdict="not run")
        sure = Interval(*(row.by_artist or row.interval))
        ours = Cell(
            f"{row.test_roc_auc:.4f} ({sure.low:.3f}-{sure.high:.3f})",
            link=self._link(row),
            hint=f"{row.seeds} seed{'s' if row.seeds > 1 else ''}, by {'artist' if row.by_artist else 'clip'}",
        )
        verdict = VERDICTS.get(literature.lies(paper, self.group.protocol, sure))
        return told, ours, Cell(verdict, verdict=verdict) if verdict else Cell(OTHER_CLIPS)

    def _link(self, row: Row) -> Link:
        """Its run in MLflow, else the search that trained it."""
        assert self.group is not None
        search = next(
            each.search.name for each in self.group.members if each.trial.record.signature == row.signature
        )
        return self.reading.run(search, row.signature) or Link("search", {"study": search})


def page(reading: Reading, choices: Mapping[str, str]) -> Page:
    """The page. choices: measured, the key of a protocol with a budget."""
    found, trouble = measured(reading)
    groups = by_budget(found)
    group = chosen(groups, choices.get("measured", ""))
    ours = {name: Ours.of(_of_dataset(groups, group, name), reading) for name in ("mtat", "msd")}
    blocks: list[Block] = [*_head(groups, group), Text(HOW_TO_READ)]
    blocks += [*_table_2(ours["mtat"]), *_table_3(ours["mtat"]), *_table_4(ours)]
    blocks += [Text(line, alarming=True) for line in trouble]
    live = any(reading.is_live(search) for search in reading.searches())
    return Page(NAME, "The paper's tables and ours", blocks, live)


def _of_dataset(groups: Sequence[Group], group: Group | None, name: str) -> Group | None:
    """The chosen group, if it stands in this data set's columns; else the largest that does.

    Other data sets than MSD stand beside the numbers of MTAT, to be looked at.
    """
    fitting = [each for each in groups if (each.protocol["dataset"] == "msd") == (name == "msd")]
    return group if group in fitting else next(iter(fitting), None)


def _head(groups: Sequence[Group], group: Group | None) -> list[Block]:
    if group is None:
        return [
            Text("Nothing has been trained yet. This trains the networks of Table 2:"),
            Text(command("search.run", ["space=table2"]), code=True),
        ]
    named = labels(groups)
    options = [(label, Link(NAME, {"measured": key})) for key, label in named.items()]
    facts = Facts(
        [
            ("measured on", describe(group.protocol)),
            ("budget", group.budget),
            ("trainings", f"{len(group.members):,}"),
        ]
    )
    return [Choice("Measured under", options, named[group.key]), facts] if len(groups) > 1 else [facts]


def _papers(dataset: str) -> str:
    clips = literature.TEST_CLIPS[dataset, "paper"]
    return f"The paper's: macro ROC-AUC of the {clips:,} test clips of {dataset.upper()}."


def _protocol(ours: Ours) -> str:
    return f" Ours: {describe(ours.group.protocol)}." if ours.group else ""


def _table_2(ours: Ours) -> list[Block]:
    blocks: list[Block] = [Heading("Table 2: m^n networks, two input sizes side by side")]
    halves = tables.table_2()
    for pair in halves:
        rows = [_both(ours, *lines) for lines in zip(*(half.lines for half in pair), strict=True)]
        told = f"{SHORT} {_papers('mtat')}{_protocol(ours)}" if pair is halves[0] else "Numbers as above."
        caption = f"{pair[0].m}^n models. {told}"
        spans = [(_input(half), len(HALF)) for half in pair]
        blocks.append(Table(HALF * 2, rows, caption, spans, dense=True))
    return [*blocks, figure(halves, ours.rows, _protocol(ours))]


def _input(half: Half) -> str:
    return f"model with {half.input_samples:,} samples ({half.input_ms:.0f} ms) as input"


def _both(ours: Ours, left: Line, right: Line) -> list[Cell | str]:
    return [*_half(ours, left), *_half(ours, right)]


def _half(ours: Ours, line: Line) -> list[Cell | str]:
    told = [f"{line.frames:,} frames", str(line.n), f"1+{line.n}+1", str(line.stride)]
    return [*told, *ours.cells(line.entry.name, line.published)]


def _table_3(ours: Ours) -> list[Block]:
    rows = [_third(ours, kind, line) for kind, line in tables.table_3()]
    samples = tables.table_3()[0][1].entry.input_samples
    caption = f"3^n models, {samples:,} samples as input. {_papers('mtat')}{_protocol(ours)}"
    return [Heading("Table 3: mel-spectrogram or waveform, window and hop"), Table(TABLE_3, rows, caption)]


def _third(ours: Ours, kind: str, line: Line) -> list[Cell | str]:
    told = [kind, str(line.n), str(line.window), str(line.stride)]
    return [*told, *ours.cells(line.entry.name, line.published)]


def _table_4(ours: Mapping[str, Ours]) -> list[Block]:
    rows = [_system(ours, each) for each in tables.table_4()]
    told = "".join(_protocol(ours[name]) for name in ("mtat", "msd"))
    spans = [("", 3), ("MTAT", 3), ("MSD", 3)]
    caption = f"{_papers('mtat')} {_papers('msd')}{told}"
    return [Heading("Table 4: against what there was before"), Table(TABLE_4, rows, caption, spans)]


def _system(ours: Mapping[str, Ours], system: System) -> list[Cell | str]:
    name = system.entry.name
    cells = [ours[dataset].cells(name, system.published.get(dataset)) for dataset in ("mtat", "msd")]
    return [system.kind, system.name, name, *cells[0], *cells[1]]
