"""Page "Leaderboard": all trainings of one protocol over all searches, ranked with ties, and any two compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards import board as pictures
from dashboards import duel
from dashboards.blocks import Block, Cell, Choice, Facts, Heading, Link, Page, Table, Text
from dashboards.measured import Group, by_protocol, chosen, labels, measured
from dashboards.reading import Reading
from datasets.words import command
from search.results import leaderboard
from search.results.leaderboard import Row
from search.scoring.protocol import describe

NAME, TITLE = "leaderboard", "Leaderboard"
SIZES = (50, 200)  # rows on the page; all pairs of them are tested at once, so more take long
UNNAMED = "choose"


def page(reading: Reading, choices: Mapping[str, str]) -> Page:
    """The page. choices: protocol, a group's key; rows; left and right, signatures of two rows to be compared."""
    found, trouble = measured(reading)
    groups = by_protocol(found)
    group = chosen(groups, choices.get("protocol", ""))
    if group is None:
        blocks: list[Block] = [Text(f"No training has ended yet: {command('search.run')} starts one.")]
        return Page(NAME, TITLE, [*blocks, *_alarms(trouble)])
    whole = leaderboard.unranked([each.ended for each in group.members], _table_of(group))
    size = SIZES[-1] if choices.get("rows") == str(SIZES[-1]) else SIZES[0]
    board, without = _ranked(reading, whole[:size])
    results = {each.trial.record.signature: each.result for each in group.members}
    told = f"Protocol: {describe(group.protocol)}"
    compared, unfinished = _compared(reading, group, board, choices, results)
    blocks = [
        *_head(groups, group, whole, size),
        _rows(reading, group, board),
        *(Text(line) for line in leaderboard.HOW_TO_READ),
        pictures.dots(board, told),
        Heading("Tags"),
        pictures.heat(board, results, told),
        *compared,
        *_alarms([*trouble, *without]),
    ]
    live = unfinished or any(reading.is_live(search) for search in reading.searches())
    return Page(NAME, TITLE, blocks, live)


def _alarms(lines: Sequence[str]) -> list[Block]:
    return [Text(line, alarming=True) for line in lines]


def _table_of(group: Group) -> str | None:
    """The one table of the paper that all searches are of."""
    return next(iter(group.tables)) if len(group.tables) == 1 else None


def _ranked(reading: Reading, board: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows with their ranks; those without one come last, and cost a line."""
    ranked = leaderboard.ranked(board, reading.resampled)
    others = [row for row in ranked if not row.rank]
    lines = [
        f"{row.name} (trial {row.signature}) has no rank: the resamples of its clips are missing, damaged or not those "
        f"of the others"
        for row in others
    ]
    return [*(row for row in ranked if row.rank), *others], lines


def _head(groups: Sequence[Group], group: Group, whole: Sequence[Row], size: int) -> list[Block]:
    blocks: list[Block] = []
    if len(groups) > 1:
        named = labels(groups)
        options = [(label, Link(NAME, {"protocol": key})) for key, label in named.items()]
        blocks.append(Choice("Protocol", options, named[group.key]))
    if len(whole) > SIZES[0]:
        sizes = [
            (f"the best {each}", Link(NAME, {"protocol": group.key, "rows": str(each)})) for each in SIZES
        ]
        blocks.append(Choice("Rows", sizes, f"the best {size}"))
    searches = {each.search.name for each in group.members}
    budgets = sorted({each.search.about.budget.partition(":")[0] for each in group.members})
    facts = [
        ("protocol", describe(group.protocol)),
        ("trainings", f"{len(group.members):,}"),
        ("rows", f"{len(whole):,}, seeds of the same settings being one"),
        ("searches", f"{len(searches)}"),
        ("budgets", ", ".join(budgets)),
    ]
    return [*blocks, Facts(facts)]


def _rows(reading: Reading, group: Group, board: Sequence[Row]) -> Table:
    titles, *body = leaderboard.shown(board)
    searches = {each.trial.record.signature: each.search.name for each in group.members}
    shared = {row.rank for at, row in enumerate(board) if row.rank in [each.rank for each in board[:at]]}
    rows = [
        _row(reading, row, cells, row.rank in shared, searches[row.signature])
        for row, cells in zip(board, body, strict=True)
    ]
    caption = f"Ranked by the validation clips; AUC is macro ROC-AUC. Protocol: {describe(group.protocol)}."
    return Table((*titles, "search", "MLflow"), rows, caption)


def _row(reading: Reading, row: Row, cells: Sequence[str], shares: bool, search: str) -> list[Cell | str]:
    rank = Cell(cells[0], verdict="tie" if shares else "") if row.rank else Cell("")
    run = reading.run(search, row.signature)
    return [
        rank,
        *cells[1:],
        Cell(search, link=Link("search", {"study": search})),
        Cell("run" if run else "", link=run),
    ]


def _compared(
    reading: Reading,
    group: Group,
    board: Sequence[Row],
    choices: Mapping[str, str],
    results: Mapping[str, Mapping[str, object]],
) -> tuple[list[Block], bool]:
    """The choice of two, and how they compare."""
    rows = {row.signature: row for row in board}
    picked = {side: rows.get(choices.get(side, "")) for side in ("left", "right")}
    kept = {key: value for key, value in choices.items() if key in ("rows", *picked)} | {
        "protocol": group.key
    }
    blocks: list[Block] = [Heading("Compare two")]
    for side, label in (("left", "A"), ("right", "B")):
        options = [(UNNAMED, Link(NAME, {key: kept[key] for key in kept if key != side}))]
        options += [(_named(row), Link(NAME, {**kept, side: row.signature})) for row in board]
        row = picked[side]
        blocks.append(Choice(label, options, UNNAMED if row is None else _named(row)))
    one, other = picked.values()
    if one is None or other is None:
        return blocks, False
    if one is other:
        return [*blocks, Text("A and B are the same.")], False
    told, unfinished = duel.blocks(reading, results, one, other)
    return [*blocks, *told], unfinished


def _named(row: Row) -> str:
    """Unique in a menu."""
    return f"{row.rank or '-'}  {row.name} ({row.signature[:6]})"
