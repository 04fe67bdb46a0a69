"""The paper's Tables 2, 3 and 4: what stands in which place. Numbers and shapes come from the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zoo

MEL, FRAMES, SAMPLES = (
    "Frame-level (mel-spectrogram)",
    "Frame-level (raw waveforms)",
    "Sample-level (raw waveforms)",
)
KINDS = (MEL, FRAMES, SAMPLES)
# What Table 4 calls them, in its order.
SYSTEMS = {
    "persistent_cnn": "Persistent CNN",
    "fcn": "2D CNN",
    "crnn": "CRNN",
    "melcnn": "Proposed DCNN",
    "dieleman": "1D CNN",
    "samplecnn": "Proposed DCNN",
}


@dataclass(frozen=True)
class Line:
    """A network in a table, with its published number."""

    entry: zoo.Entry
    published: zoo.PaperRow

    @property
    def m(self) -> int:
        return int(self.entry.options["m"])

    @property
    def n(self) -> int:
        return int(self.entry.options["n"])

    @property
    def window(self) -> int:
        """Length of the first filter, in samples."""
        return int(self.entry.options["window"])

    @property
    def stride(self) -> int:
        """Of the first layer, in samples; the hop of a spectrogram."""
        return int(self.entry.options["stride"])

    @property
    def frames(self) -> int:
        """That the first layer makes of a segment."""
        return self.m**self.n


@dataclass(frozen=True)
class Half:
    """The networks of Table 2 with one m and one input, by their depth."""

    m: int
    input_samples: int
    input_ms: float
    lines: Sequence[Line]


def lines(table: str, dataset: str = "mtat") -> list[Line]:
    """The networks of a table, in the zoo's order. table: "table2", "table3" or "table4"."""
    entries = [zoo.entry(name) for name in zoo.names(table=table)]
    return [
        Line(entry, row)
        for entry in entries
        for row in entry.paper
        if (row.table, row.dataset) == (table, dataset)
    ]


def table_2() -> list[tuple[Half, Half]]:
    """For each m its two inputs, the shorter one first; their rows stand side by side."""
    halves: dict[tuple[int, int], list[Line]] = {}
    for line in lines("table2"):
        halves.setdefault((line.m, line.entry.input_samples), []).append(line)
    made = [
        Half(m, samples, found[0].entry.input_ms, sorted(found, key=lambda line: line.n))
        for (m, samples), found in sorted(halves.items())
    ]
    return list(zip(made[::2], made[1::2], strict=True))


def table_3() -> list[tuple[str, Line]]:
    """With the kind of each network, in the paper's order: by kind, depth, and the longer window first."""
    found = [(kind_of(line.entry), line) for line in lines("table3")]
    return sorted(found, key=lambda pair: (KINDS.index(pair[0]), pair[1].n, -pair[1].window))


@dataclass(frozen=True)
class System:
    """A row of Table 4. published: by data set, "mtat" and "msd"."""

    kind: str
    name: str
    entry: zoo.Entry
    published: dict[str, zoo.PaperRow]


def table_4() -> list[System]:
    """In the paper's order. What it calls 2D CNN is another network on each data set, so it has two rows."""
    found: dict[str, System] = {}
    for dataset in ("mtat", "msd"):
        for line in lines("table4", dataset):
            entry = line.entry
            new = System(kind_of(entry), SYSTEMS.get(entry.family, entry.family), entry, {})
            found.setdefault(entry.name, new).published[dataset] = line.published
    order = list(SYSTEMS)
    return sorted(found.values(), key=lambda each: (KINDS.index(each.kind), order.index(each.entry.family)))


def kind_of(entry: zoo.Entry) -> str:
    """How a network reads its input, in the words of Tables 3 and 4."""
    if entry.description.startswith("sample-level"):
        return SAMPLES
    return FRAMES if entry.description.startswith("frame-level 1D") else MEL
