"""What a cell of the column `tags` says: where one tag ends and the next begins, and which spellings are one tag."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

MARKS, COMMA = re.compile(r"[;|]"), re.compile(r",")
SEVERAL = 2  # a comma in one cell alone may well belong to a tag
MOST_NAMED = 5


def between_tags(cells: Sequence[str]) -> re.Pattern[str]:
    """What divides the tags of a column: ; and |, or the comma where nobody wrote either and several a comma."""
    marked = any(MARKS.search(cell) for cell in cells)
    return COMMA if not marked and sum("," in cell for cell in cells) >= SEVERAL else MARKS


def divided(cell: str, between: re.Pattern[str]) -> tuple[str, ...]:
    """Tags of a cell in their order, each once, blanks set in order; none is as good as any."""
    parts = (" ".join(part.split()) for part in between.split(unicodedata.normalize("NFC", cell)))
    return tuple(dict.fromkeys(part for part in parts if part))


def spellings(tags: Iterable[str]) -> dict[str, str]:
    """For each tag, the spelling that all that differ in case alone get: the most frequent, else the first by code."""
    counted, groups = Counter(tags), dict[str, list[str]]()
    for tag in sorted(counted):
        groups.setdefault(tag.casefold(), []).append(tag)
    return {tag: max(group, key=counted.__getitem__) for group in groups.values() for tag in group}


def remarks(
    file: Path, cells: Sequence[str], between: re.Pattern[str], kept: Mapping[str, str]
) -> Iterator[str]:
    """What the reader of the column decided by itself, a line for each decision. kept: of `spellings`."""
    commas = [cell for cell in cells if "," in cell]
    if between is COMMA:
        yield (
            f"{file}: no cell of tags has ; or | and {len(commas):,} have a comma, so commas divide: {commas[0]!r} is "
            f"{_tags(len(divided(commas[0], between)))}; where a comma belongs to a tag, end that cell with ;"
        )
    elif whole := sorted(tag for tag in set(kept.values()) if "," in tag):
        yield f"{file}: a comma in these belongs to the tag, as ; and | divide: {_named(map(repr, whole))}"
    merged = Counter(kept.values())
    if twins := [f"{tag} ({_others(tag, kept)})" for tag in sorted(merged) if merged[tag] > 1]:
        yield f"{file}: tags that differ in case alone are one: {_named(twins)}"


def _others(tag: str, kept: Mapping[str, str]) -> str:
    return ", ".join(sorted(other for other, named in kept.items() if named == tag and other != tag))


def _named(words: Iterable[str]) -> str:
    found = list(words)
    rest = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + rest


def _tags(count: int) -> str:
    return f"{count} tag{'s' * (count != 1)}"
