"""Count every network without a closed form anew, and write zoo/costs.csv.

    python -m zoo.recount

Takes no words, and a second for each network. What it writes is part of the source: after a change of an architecture,
commit it. Exit codes: 0 written, 2 there were words.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from datasets.whole import written_whole
from zoo.costs import FILE, Headless
from zoo.counting import counted
from zoo.entry import Entry
from zoo.registry import entry, names


def main(words: Sequence[str]) -> int:
    """Help, or a refusal of any other word, or the file written anew. Returns the exit code."""
    if {"--help", "-h", "help"} & set(words):
        print(__doc__)
        return 0
    if words:
        print(f"{words[0]!r} is not understood; recount takes no words (see --help)", file=sys.stderr)
        return 2
    _recount()
    return 0


def _recount() -> None:
    entries = [each for each in map(entry, names()) if each.rules.cost is None]
    rows = []
    for each in entries:
        rows.append({"name": each.name, **asdict(count(each))})
        print(each.name)
    with written_whole(FILE) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def count(each: Entry) -> Headless:
    """The cost of all but the head, from what one tag more costs: width + 1 parameters, width times frames products."""
    one, two = (counted(partial(each.build, tags), each.input_samples) for tags in (1, 2))
    width, products = two.parameters - one.parameters - 1, two.multiply_adds - one.multiply_adds
    return Headless(
        one.parameters - width - 1,
        one.multiply_adds - products,
        2 * one.training_bytes - two.training_bytes,
        width,
        products // width,
        one.frozen,
        two.training_bytes - one.training_bytes,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
