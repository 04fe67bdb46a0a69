"""Count every network without a closed form anew, and write zoo/costs.csv: python -m zoo.recount"""

import csv
from dataclasses import asdict
from functools import partial

from datasets.whole import written_whole
from zoo.costs import FILE, Headless
from zoo.counting import counted
from zoo.entry import Entry
from zoo.registry import entry, names


def main() -> None:
    """Write the file; a second for each network."""
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
    main()
