"""What is built, and what is in it.

    python -m datasets.info                 the data sets that are built
    python -m datasets.info name=mtat       one of them: clips, tags with counts, splits, licence, citation

Words (key=value):
    name=NAME        which data set
    convention=NAME  count the tags of this way to split; default: the data set's own
    out=FOLDER       home of all data; default: WAVEZOO_HOME, or ./wavezoo-data
    format=text      or json
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import recipe as recipes
from datasets import words as typed
from datasets.cards import Card
from datasets.errors import DatasetError, nearest
from datasets.home import home
from datasets.verify import stored_card

if TYPE_CHECKING:
    from rich.table import Table

WORDS = ("name", "convention", "out", "format")
FORMATS = ("text", "json")


def built(out: str | None = None) -> list[dict[str, Any]]:
    """Of each data set that is built: name, clips, hours, sample_rate_hz, tags, fingerprint, bytes, fault.

    out: home of all data instead of datasets.home(). fault: why a card can't be read, else None.
    """
    place = home() if out is None else Path(out).expanduser().absolute()
    names = sorted(card.parent.name for card in (place / "datasets").glob("*/card.json"))
    return [_line(name, out) for name in names]


def describe(name: str, convention: str | None = None, out: str | None = None) -> dict[str, Any]:
    """All there is to know of one store; plain values only.

    convention: the one whose tags are counted; None is the data set's own.
    raises:     DatasetError for unknown words and for a store that is not there or damaged.
    """
    about, folder = stored_card(name, out)
    convention = about.default_convention if convention is None else convention
    if convention not in about.conventions:
        raise DatasetError(
            f"convention={convention}: {name} has none called so; {nearest(convention, about.conventions)}"
        )
    return {
        "name": about.name,
        "folder": str(folder),
        "clips": about.clips,
        "hours": about.hours,
        "sample_rate_hz": about.sample_rate_hz,
        "longest_clip_samples": about.clip_samples,
        "fingerprint": about.fingerprint,
        "tag_hash": about.tag_hash,
        "bytes": _bytes(about),
        "shards": len(about.shards),
        "skipped": about.skipped,
        "clipped_clips": about.clipped_clips,
        "licence": about.licence,
        "citation": about.citation,
        "default_convention": about.default_convention,
        "conventions": about.conventions,
        "convention": convention,
        "tags": _tag_counts(about, folder, convention),
    }


def _tag_counts(about: Card, folder: Path, convention: str) -> dict[str, dict[str, int]]:
    """Clips of each tag: `all` of them in the store, then those of each split."""
    from datasets import store

    columns, labels = store.read_index(folder / about.index.file, about.plan_id, about.index.bytes)
    splits = columns[f"split:{convention}"]
    rows = {"all": list(range(len(splits)))}
    rows |= {split: [row for row, name in enumerate(splits) if name == split] for split in recipes.SPLITS}
    counts = {split: labels[chosen].sum(axis=0, dtype=int).tolist() for split, chosen in rows.items()}
    return {tag: {split: counts[split][i] for split in rows} for i, tag in enumerate(about.tags)}


def _bytes(about: Card) -> int:
    return sum(file.bytes for file in (*about.shards, about.index))


def _line(name: str, out: str | None) -> dict[str, Any]:
    try:
        about, _ = stored_card(name, out)
    except DatasetError as problem:
        return {"name": name, "fault": str(problem)}
    return {
        "name": name,
        "clips": about.clips,
        "hours": about.hours,
        "sample_rate_hz": about.sample_rate_hz,
        "tags": len(about.tags),
        "fingerprint": about.fingerprint,
        "bytes": _bytes(about),
        "fault": None,
    }


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _show(*parts: "str | Table") -> None:
    from rich.console import Console

    # Wider than any table: rich would drop whole columns to fit 80, and a terminal wraps by itself.
    console = Console(width=10_000, highlight=False, markup=False)
    for part in parts:
        console.print(part)


def _show_built(lines: list[dict[str, Any]], out: str | None) -> None:
    if not lines:
        begin = typed.command("datasets.build", ["name=demo", *([f"out={out}"] if out else [])])
        _show(f"nothing is built in {out or home()}; begin with: {begin}")
        return
    rows = [
        (
            line["name"],
            f"{line['clips']:,}",
            f"{line['hours']:,.2f}",
            str(line["sample_rate_hz"]),
            str(line["tags"]),
            f"{line['bytes'] / 1e9:,.2f}",
            line["fingerprint"],
        )
        for line in lines
        if line["fault"] is None
    ]
    columns = ("name", "clips", "hours", "Hz", "tags", "GB", "fingerprint")
    _show(_table(columns, rows, ("name", "fingerprint")))
    _show(*(line["fault"] for line in lines if line["fault"]))


def _show_one(facts: dict[str, Any]) -> None:
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in facts["skipped"].items()) or "nothing"
    lines = [
        ("name", facts["name"]),
        ("folder", facts["folder"]),
        ("clips", f"{facts['clips']:,}, {facts['hours']:,.2f} hours at {facts['sample_rate_hz']} Hz"),
        ("longest clip", f"{facts['longest_clip_samples']:,} samples"),
        ("skipped", skipped),
        ("clipped", f"{facts['clipped_clips']:,} clips had peaks beyond full scale"),
        ("on disk", f"{facts['bytes'] / 1e9:,.2f} GB in {facts['shards']:,} shards"),
        ("fingerprint", facts["fingerprint"]),
        ("tags", f"{len(facts['tags'])}, hash {facts['tag_hash']}"),
        ("licence", facts["licence"]),
        ("citation", facts["citation"]),
    ]
    _show(*(f"{label:<13}{words}" for label, words in lines), "")
    conventions = [
        (
            f"{name} (default)" if name == facts["default_convention"] else name,
            *(f"{counts[split]:,}" for split in recipes.SPLITS),
        )
        for name, counts in facts["conventions"].items()
    ]
    _show(_table(("convention", *recipes.SPLITS), conventions, ("convention",)), "")
    tags = [
        (tag, *(f"{counts[part]:,}" for part in ("all", *recipes.SPLITS)))
        for tag, counts in sorted(facts["tags"].items(), key=lambda item: -item[1]["all"])
    ]
    _show(
        _table(
            (f"tag ({facts['convention']})", "clips", *recipes.SPLITS),
            tags,
            (f"tag ({facts['convention']})",),
        )
    )


def _answer(given: dict[str, str]) -> None:
    out, form = given.get("out"), given.get("format", "text")
    if form not in FORMATS:
        raise DatasetError(f"format={form}: {nearest(form, FORMATS)}")
    if "name" not in given and "convention" in given:
        raise DatasetError(f"convention={given['convention']}: of which data set? write name=...")
    facts = describe(given["name"], given.get("convention"), out) if "name" in given else built(out)
    if form == "json":
        print(json.dumps(facts, indent=1))
    elif isinstance(facts, list):
        _show_built(facts, out)
    else:
        _show_one(facts)


def main(words: list[str]) -> int:
    """Command line; returns the exit code: 0 shown, 2 refused with one line, 130 interrupted."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    try:
        _answer(typed.parse(words, WORDS))
        sys.stdout.flush()
    except DatasetError as problem:
        print(problem, file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(f"interrupted; to ask again: {typed.command('datasets.info', words)}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
