"""The CSV beside your own music: one row a clip, read with all its problems at once."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from datasets.audio import SUFFIXES
from datasets.errors import DatasetError, nearest
from datasets.folder_tags import between_tags, divided, remarks, spellings
from datasets.recipe import SPLITS

NEEDED, OPTIONAL = ("path", "tags"), ("split", "artist", "rate")
MOST_SAID = 20
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True)
class Row:
    """One clip as the CSV has it.

    path:    below the source folder, with slashes, without ./ and the like.
    split:   train, valid, test, or empty where there is no such column.
    artist:  empty where nobody is named.
    rate_hz: what the file is said to have, None where nothing is said.
    """

    line: int
    path: str
    tags: tuple[str, ...]
    split: str
    artist: str
    rate_hz: int | None


@dataclass
class Problems:
    """What is wrong with a file, by line: collected, so that one look at the file is enough."""

    file: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, words: str) -> None:
        self.found.append((line, words))

    def refuse_if_any(self) -> None:
        """raises: DatasetError with the first MOST_SAID problems in the order of the lines, and their number."""
        if not self.found:
            return
        said = [f"line {line}: {words}" for line, words in sorted(self.found)]
        if len(said) == 1:
            raise DatasetError(f"{self.file} {said[0]}")
        rest = [f"and {len(said) - MOST_SAID:,} more"] if len(said) > MOST_SAID else []
        lines = "\n  ".join([*said[:MOST_SAID], *rest])
        raise DatasetError(f"{self.file} has {len(said):,} problems:\n  {lines}")


@dataclass(frozen=True)
class Table:
    """ignored: columns that nobody reads. problems: of single rows, which are then not among `rows`.

    remarks: what was decided about its tags, in lines for the person who builds.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    problems: Problems
    remarks: tuple[str, ...] = ()


def read_table(file: Path, source: Path) -> Table:
    """Rows of the CSV; DatasetError naming file and line if it is no table of clips at all.

    source: the folder that paths start from; absolute ones below it are taken as if they did.
    UTF-8 with or without a mark at its beginning, columns separated as `_separator` finds, fields quoted where they
    have to be.
    """
    problems, text = Problems(file), _text(file)
    lines = _lines(text, separator := _separator(text), problems)
    _, header = next(lines, (1, []))
    names = [name.strip().lower() for name in header]
    _check_header(names, file)
    found = list(_cells(lines, names, separator, problems))
    tag_cells = [cells["tags"] for _, cells in found]
    between = between_tags(tag_cells)
    rows = _rows(found, source, between, problems)
    if not rows and not problems.found:
        raise DatasetError(f"{file} has no rows below its first line")
    kept = spellings(tag for row in rows for tag in row.tags)
    rows = [replace(row, tags=tuple(dict.fromkeys(kept[tag] for tag in row.tags))) for row in rows]
    ignored = tuple(name for name in names if name and name not in NEEDED + OPTIONAL)
    said = tuple(remarks(file, tag_cells, between, kept))
    return Table(tuple(rows), tuple(names), ignored, problems, said)


def _cells(
    lines: Iterator[tuple[int, list[str]]], names: list[str], separator: str, problems: Problems
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of each row that has as many as the first line."""
    for line, cells in lines:
        if len(cells) == len(names):
            yield line, dict(zip(names, map(str.strip, cells), strict=True))
            continue
        hint = f"quote a field with a {SEPARATORS[separator]}"
        problems.add(line, f"{_columns(cells)}, the first line has {len(names)} ({hint})")


def _rows(
    found: list[tuple[int, dict[str, str]]], source: Path, between: re.Pattern[str], problems: Problems
) -> list[Row]:
    rows, seen = [], dict[str, int]()
    for line, cells in found:
        row = _row(line, cells, source, between, problems)
        if row and row.path in seen:
            problems.add(line, f"{row.path} stands in line {seen[row.path]} already")
        elif row:
            seen[row.path] = line
            rows.append(row)
    return rows


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as problem:
        raise DatasetError(f"csv={file} can't be read: {problem.strerror}") from problem
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise DatasetError(f"{file} line {line}: not UTF-8; save the file as CSV in UTF-8") from problem


def _separator(text: str) -> str:
    """What stands between columns: the comma, unless only another makes the first line one with the columns needed.

    Spreadsheets write ; where the comma is the decimal mark, as in much of Europe, and tabs on request.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    for separator in SEPARATORS:
        try:
            names = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:  # a line that is longer than any of a CSV
            continue
        if set(NEEDED) <= {name.strip().lower() for name in names}:
            return separator
    return ","


def _lines(text: str, separator: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row; a quoted field may go over several lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            # Whatever follows a quote that is not closed can't be told apart.
            problems.add(line, f"no CSV from here on ({problem})")
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def _check_header(names: list[str], file: Path) -> None:
    for name in NEEDED:
        if name not in names:
            found = ", ".join(names) or "nothing"
            wanted = f"wanted {', '.join(NEEDED)}; {_may()}"
            raise DatasetError(f"{file} line 1: no column {name}; found {found}; {wanted}")
    for name in NEEDED + OPTIONAL:
        if names.count(name) > 1:
            raise DatasetError(f"{file} line 1: the column {name} is there twice")


def _may() -> str:
    return f"{', '.join(OPTIONAL[:-1])} and {OPTIONAL[-1]} may be there too"


def _columns(cells: list[str]) -> str:
    return f"{len(cells)} column{'s' if len(cells) != 1 else ''}"


def _row(
    line: int, cells: dict[str, str], source: Path, between: re.Pattern[str], problems: Problems
) -> Row | None:
    """The row, or None where it has problems, all of which are noted."""
    before = len(problems.found)
    path = _path(line, _below(source, cells["path"]), problems)
    tags = _tags(line, cells["tags"], between, problems)
    split = _split(line, cells.get("split"), problems)
    rate_hz = _rate(line, cells.get("rate", ""), problems)
    artist = " ".join(unicodedata.normalize("NFC", cells.get("artist", "")).split())
    return Row(line, path, tags, split, artist, rate_hz) if len(problems.found) == before else None


def _below(source: Path, text: str) -> str:
    """The path from source on, if it is absolute and leads there, by the folder's name or by where links lead."""
    path = PurePosixPath(text)
    for start in (source, source.resolve()) if path.is_absolute() else ():
        if path.is_relative_to(start):
            return str(path.relative_to(start))
    return text


def _path(line: int, text: str, problems: Problems) -> str:
    path = PurePosixPath(text)
    # A drive letter is checked everywhere: the same table is to mean the same on every system.
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(text).drive
    if not text:
        problems.add(line, "no path")
    elif _has_control(text):
        problems.add(line, f"path {text!r} has a control character in it")
    elif outside or ".." in PureWindowsPath(text).parts:
        problems.add(line, f"path {text!r} leads out of the source folder; write it from that folder on")
    elif path.suffix.lower() not in SUFFIXES:
        problems.add(line, f"{text} is none of {', '.join(suffix[1:] for suffix in SUFFIXES)}")
    return str(path)


def _tags(line: int, text: str, between: re.Pattern[str], problems: Problems) -> tuple[str, ...]:
    if _has_control(text):
        problems.add(line, f"tags {text!r} have a control character in them")
    return divided(text, between)


def _split(line: int, text: str | None, problems: Problems) -> str:
    if text is None:
        return ""
    if text.lower() not in SPLITS:
        said = f"unknown split {text!r}" if text else "no split"
        problems.add(line, f"{said}; {nearest(text.lower(), SPLITS)}")
    return text.lower()


def _rate(line: int, text: str, problems: Problems) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10_000_000):
        problems.add(line, f"rate {text!r}; wanted the file's whole Hz, such as 44100")
        return None
    return int(text)


def _has_control(text: str) -> bool:
    return any(unicodedata.category(sign) == "Cc" for sign in text)
