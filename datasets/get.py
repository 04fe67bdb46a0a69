"""Download a data set from its publisher, check it, and unpack it.

    python -m datasets.get name=mtat

Words (key=value):
    name=NAME   which data set
    out=FOLDER  where to; default: sources/NAME in WAVEZOO_HOME (or ./wavezoo-data)
    url=URL     another address of the folder that has the files (http or https)

The addresses and checksums stand in datasets/addresses.toml. What breaks off is resumed, now or by typing the
same again. Exit codes: 0 all there, 1 something could not be had, 2 the words were wrong, 130 interrupted.
"""

import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from datasets import words as typed
from datasets.download import Remote, check_url, fetch, sha256_of
from datasets.errors import DatasetError, nearest, reason
from datasets.home import home
from datasets.lock import only_one
from datasets.mtat_parts import audio_folder

WORDS = ("name", "out", "url")
ADDRESSES = Path(__file__).with_name("addresses.toml")


class WordError(DatasetError):
    """What was typed can't be meant."""


def get(
    name: str,
    out: str | Path | None = None,
    url: str | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Download all files of data set `name` that aren't there yet, unpack what is packed; the folder.

    say:    hears the lines of the report. wait: see datasets.download.fetch.
    raises: WordError for a name or an address that can't be, DatasetError for a file that can't be had.
    """
    known = addresses()
    if name not in known:
        raise WordError(_not_downloaded(name, known))
    remotes = _remotes(known[name], url)
    folder = Path(out).expanduser().absolute() if out else home() / "sources" / name
    with only_one(
        folder / ".getting", f"another process is downloading into {folder}; wait for it or give out="
    ):
        for file_name, remote in remotes.items():
            _get_one(folder / file_name, remote, say, wait)
        _unpack(name, folder, say)
    say(f"all there; next: {typed.command('datasets.build', [f'name={name}', f'source={folder}'])}")
    return folder


def addresses() -> dict[str, dict]:
    """What ADDRESSES says, by data set."""
    return tomllib.loads(ADDRESSES.read_text(encoding="utf-8"))


def _not_downloaded(name: str, known: dict[str, dict]) -> str:
    reasons = {
        "demo": "demo is rendered, not downloaded; it is there when it is first opened",
        "folder": "folder is your own music; there is nothing to download",
        "msd": "msd: nobody gives out the clips any more; build from those you have "
        f"({typed.command('datasets.build', ['--help'])})",
    }
    return reasons.get(name, f"no data set called {name!r} can be downloaded; {nearest(name, known)}")


def _remotes(entry: dict, url: str | None) -> dict[str, Remote]:
    try:
        base = check_url(url or entry["url"])
    except DatasetError as problem:
        raise WordError(str(problem)) from None
    return {
        file["name"]: Remote(base + file["name"], file.get("sha256", ""), file.get("bytes"))
        for file in entry["files"]
    }


def _get_one(file: Path, remote: Remote, say: Callable[[str], None], wait: Callable[[float], None]) -> None:
    if ".zip" in file.name and (file.parent / "mp3").is_dir():
        say(f"{file.name}: unpacked already")
    elif not file.is_file():
        say(f"{file.name}: from {remote.url}")
        fetch(remote, file, wait)
    elif remote.sha256 and sha256_of(file) != remote.sha256:
        raise DatasetError(
            f"{file} is not the published file (its sha256 differs); remove it to download it anew"
        )
    else:
        say(f"{file.name}: there already")


def _unpack(name: str, folder: Path, say: Callable[[str], None]) -> None:
    if name == "mtat":
        say(f"clips are in {audio_folder(folder)}")


def main(words: list[str]) -> int:
    """Command line; returns the exit code."""
    if {"--help", "-h", "help"} & set(words):
        print(f"{__doc__}\nData sets: {', '.join(addresses())}")
        return 0
    try:
        given = typed.parse(words, WORDS)
        if "name" not in given:
            raise DatasetError(f"which data set? write name=...; {nearest('', addresses())}")
    except DatasetError as problem:
        print(problem, file=sys.stderr)
        return 2
    again = typed.command("datasets.get", words)
    try:
        get(given["name"], given.get("out"), given.get("url"))
    except DatasetError as problem:
        print(problem, file=sys.stderr)
        return 2 if isinstance(problem, WordError) else 1
    except OSError as problem:
        print(f"{reason(problem)}; when that is put right, the same command goes on", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; to go on: {again}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
