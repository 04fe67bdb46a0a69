"""python -m dashboards export out=DIR: what the searches found, as a page that opens from disk."""

import sys
from collections.abc import Sequence
from pathlib import Path

from datasets import DatasetError
from datasets.errors import nearest
from search.settings import SearchError
from zoo import ZooError

HELP = """\
Show what the searches found.

  python -m dashboards export out=DIR [storage=URL]

writes DIR/index.html: the leaderboard of every search beside the paper's numbers, and its learning curves, in one file
that opens without a network. storage is the ledger's address where it is not the file under WAVEZOO_HOME.
"""


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    try:
        return _export(typed)
    except (SearchError, DatasetError, ZooError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _export(typed: Sequence[str]) -> int:
    action, *rest = typed
    if action != "export":
        raise SearchError(f"dashboards has no '{action}'; {nearest(action, ['export'])}")
    given = dict(word.partition("=")[::2] for word in rest)
    if unknown := [key for key in given if key not in ("out", "storage")]:
        raise SearchError(f"no word is called '{unknown[0]}'; {nearest(unknown[0], ['out', 'storage'])}")
    if not given.get("out"):
        raise SearchError("say where to: python -m dashboards export out=DIR")
    from dashboards.page import gather, render
    from search.files import write_text

    shown = gather(given.get("storage"))
    page = Path(given["out"]) / "index.html"
    write_text(page, render(shown))
    print(f"{len(shown)} searches in {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
