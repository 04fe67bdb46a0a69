"""A folder of short clips and the CSV beside it, right or wrong."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from mtat_tree import music, wav

from datasets.errors import DatasetError
from datasets.folder import plan

ROWS = ("a.wav,rock;slow,train,Ann", "b.wav,rock,valid,Bob", "sub/c.wav,,test,Cid")


HEADER = "path,tags,split,artist"


def tree(where: Path, names: Iterable[str] = ("a.wav", "b.wav", "sub/c.wav"), seconds: float = 0.2) -> Path:
    """A folder of short clips of different lengths."""
    for number, name in enumerate(names):
        file = where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(wav(music(round(22_050 * seconds) + number, number)))
    return where


def table(where: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    file = where / "tags.csv"
    file.write_bytes("\n".join((header, *rows, "")).encode(encoding))
    return file


def refusal(source: Path, **words: str) -> str:
    with pytest.raises(DatasetError) as refused:
        plan(source, 22_050, **words)
    return str(refused.value)


def refused_rows(where: Path, *rows: str, header: str = HEADER) -> str:
    """What is said of a table, without its name."""
    file = table(tree(where), *rows, header=header)
    return refusal(where).removeprefix(f"{file} ")
