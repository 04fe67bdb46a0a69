"""Two rows of a leaderboard compared: a verdict in words, the difference with its interval, and its tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards import figures
from dashboards.blocks import Block, Facts, Figure, Heading, Table, Text
from dashboards.reading import Reading
from search.compare import TITLES, verdict_line
from search.errors import SearchError
from search.results.leaderboard import Row
from search.scoring.comparing import Compared, TagDifference, compare_resampled, tag_differences
from search.scoring.intervals import BETTER, TIE, WORSE, Difference

COLUMNS = ("test clips, macro means", "A", "B", "A - B", "95 % by clip", "95 % by artist")
# In print a hatch tells them apart.
LOOKS = {BETTER: (figures.COLOURS[0], ""), WORSE: (figures.COLOURS[1], "/"), TIE: ("#888888", ".")}
LEGEND = {BETTER: "A is better", WORSE: "A is worse", TIE: "cannot be told apart"}


def blocks(
    reading: Reading, results: Mapping[str, Mapping[str, Any]], a: Row, b: Row
) -> tuple[list[Block], bool]:
    """The comparison, and whether more of it is still being computed. results: of all trials, by signature."""
    head: list[Block] = [Heading("A against B"), Facts([("A", a.name), ("B", b.name)])]
    one, other = (_kept(reading, results, row) for row in (a, b))
    if not one or not other:
        return [
            *head,
            Text("The resamples of one of them are not kept, so they can't be compared here."),
        ], False
    found = compare_resampled(one, other)
    if found.refusal:
        return [*head, Text(f"They can't be compared: {found.refusal}.", alarming=True)], False
    body: list[Block] = [Text(f"{verdict_line(found)}.")]
    body.append(Table(COLUMNS, [_numbers(name, each) for name, each in found.metrics.items()]))
    tags = reading.aside.get(("tags", a.signatures, b.signatures), lambda: _tags(reading, a, b))
    if isinstance(tags, SearchError):
        return [*head, *body, Text(str(tags), alarming=True)], False
    if tags is None:
        return [
            *head,
            *body,
            Text("Which tags they differ in is being computed, and shows here when it is."),
        ], True
    return [*head, *body, figure(tags)], False


def _kept(reading: Reading, results: Mapping[str, Mapping[str, Any]], row: Row) -> list[Any]:
    """The seeds with their resamples; none where some have none."""
    kept = [(results[signature], reading.resampled(signature)) for signature in row.signatures]
    return kept if all(resampled is not None for _, resampled in kept) else []


def _tags(reading: Reading, a: Row, b: Row) -> Sequence[TagDifference]:
    one, other = ([reading.scores(signature) for signature in row.signatures] for row in (a, b))
    return tag_differences(one, other)


def _numbers(name: str, each: Compared) -> list[str]:
    values = [f"{value:.4f} ({sure.low:.3f} to {sure.high:.3f})" for value, sure in (each.first, each.second)]
    artist = "not known" if each.by_artist is None else _ends(each.by_artist)
    return [TITLES[name], *values, f"{each.deciding.mean:+.4f}", _ends(each.by_clip), artist]


def _ends(each: Difference) -> str:
    return f"{each.low:+.4f} to {each.high:+.4f}"


def figure(tags: Sequence[TagDifference]) -> Figure:
    """A bar for each tag, by how much A is better in it."""
    ordered = sorted(tags, key=lambda each: each.difference)
    at = {each.tag: place for place, each in enumerate(ordered)}
    traces = [_bars(verdict, [each for each in ordered if each.verdict == verdict], at) for verdict in LEGEND]
    labels = [f"{figures.plain(each.tag)} ({each.positives:,})" for each in ordered]
    layout = {
        "barmode": "overlay",
        "xaxis": figures.axis("A - B, test ROC-AUC"),
        "yaxis": figures.axis("tag (test clips that carry it)", tickvals=list(at.values()), ticktext=labels),
    }
    caption = (
        "Difference of A and B in each tag's ROC-AUC on the test clips. A tag differs where that holds with 5 % risk "
        "for all tags together."
    )
    return Figure("tags-apart", traces, layout, caption, height_px=140 + 18 * len(ordered))


def _bars(verdict: str, tags: Sequence[TagDifference], at: Mapping[str, int]) -> dict[str, Any]:
    colour, hatch = LOOKS[verdict]
    return {
        "type": "bar",
        "orientation": "h",
        "name": LEGEND[verdict],
        "x": [each.difference for each in tags],
        "y": [at[each.tag] for each in tags],
        "text": [f"{figures.plain(each.tag)}: {each.first:.4f} and {each.second:.4f}" for each in tags],
        "textposition": "none",
        "hovertemplate": "%{text}, %{x:+.4f}<extra></extra>",
        "marker": {"color": colour, "pattern": {"shape": hatch, "solidity": 0.2}},
    }
