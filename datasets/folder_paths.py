"""The files that the rows of the CSV beside your own music mean, as the disk spells them."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.folder_files import Problems, Row, Table
from datasets.progress import progress

MOST_NAMED = 5


@dataclass(frozen=True)
class Found:
    """rows: in the order of their paths. sizes: of each path's file, None where there is none. remarks: for the person
    who builds."""

    rows: list[Row]
    sizes: dict[str, int | None]
    remarks: tuple[str, ...]


def look_for(source: Path, table: Table, missing: str) -> Found:
    """What there is of each row's file.

    missing: refuse, or skip the rows whose file isn't there.
    raises:  DatasetError with all problems of the table, by line, those of its files among them.
    """
    problems, rows, sizes, turned = table.problems, list[Row](), dict[str, int | None](), 0
    for row in table.rows:
        path, size = _on_disk(source, row, problems)
        if path in sizes:
            problems.add(row.line, f"{row.path} is the same file as another line's")
        rows.append(replace(row, path=path))
        sizes[path] = size
        turned += "\\" in row.path and "\\" not in path
    lost = [row for row in rows if sizes[row.path] is None]
    if lost and missing == "refuse":
        problems.add(lost[0].line, _are_missing(source, lost, len(rows)))
    _check_rates(source, [row for row in rows if sizes[row.path] and row.rate_hz], problems)
    problems.refuse_if_any()
    said = (
        f"{problems.file}: {turned:,} of {len(rows):,} paths have \\ where the disk has /, and are taken so"
    )
    return Found(sorted(rows, key=lambda row: row.path), sizes, (said,) if turned else ())


def _are_missing(source: Path, lost: Sequence[Row], rows: int) -> str:
    said = f"{len(lost):,} of {rows:,} files are not below {source}"
    # Then it is the folder or the way paths are written, and skipping would lose the music
    if 2 * len(lost) > rows:
        first = lost[0]
        return (
            f"{said}; the first is {first.path!r} (line {first.line}), looked for as {source / first.path}: "
            "give the source= that paths start from, or write them from it on"
        )
    named = ", ".join(f"{row.path} (line {row.line})" for row in lost[:MOST_NAMED])
    rest = f" and {len(lost) - MOST_NAMED:,} more" if len(lost) > MOST_NAMED else ""
    return f"{said}: {named}{rest}; missing=skip goes on"


def _spellings(path: str) -> Iterator[str]:
    """How a disk may have it: macOS writes an accent as a sign of its own, a table usually does not, and Windows
    writes \\ for /."""
    for each in (path, path.replace("\\", "/")):
        yield from (each, unicodedata.normalize("NFC", each), unicodedata.normalize("NFD", each))


def _on_disk(source: Path, row: Row, problems: Problems) -> tuple[str, int | None]:
    """Path as the disk spells it, and its size."""
    for path in dict.fromkeys(_spellings(row.path)):
        try:
            found = (source / path).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            problems.add(row.line, f"{row.path} can't be read: {problem.strerror}")
            return row.path, 0
        if not (source / path).is_file():
            problems.add(row.line, f"{row.path} is no file")
        return path, found.st_size
    return row.path, None


def _check_rates(source: Path, rows: list[Row], problems: Problems) -> None:
    if not rows:
        return
    import soundfile

    with progress("comparing rates", len(rows)) as done:
        for row in rows:
            try:
                found = soundfile.info(source / row.path).samplerate
            except soundfile.SoundFileError:  # the build will say why
                found = row.rate_hz
            if found != row.rate_hz:
                problems.add(row.line, f"{row.path} has {found} Hz, its rate column says {row.rate_hz}")
            done(1)
