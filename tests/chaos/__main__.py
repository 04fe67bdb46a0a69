"""python -m tests.chaos kills=20 trials=60 seed=0: see killing.py."""

import sys
import tempfile
from pathlib import Path

from .checks import findings
from .killing import Chaos
from .nodes import ray_nodes


def main(typed: list[str]) -> int:
    from datasets.build import build

    words = {"kills": 20, "trials": 60, "seed": 0} | {
        key: int(value) for key, _, value in (w.partition("=") for w in typed)
    }
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = Path(folder)
        build("demo", workers=1, out=home)
        with ray_nodes(2) as nodes:
            chaos = Chaos(home, nodes, **words, say=lambda line: print(line, flush=True))
            code = chaos.run()
        wrong = findings(home, chaos.rates, chaos.seen)
    killed = ", ".join(f"{count} of a {kind}" for kind, count in sorted(chaos.killed.items()))
    print(f"\nkills: {killed}; the command was typed {chaos.drivers} times and ended with {code}")
    print(f"trainings: {len(chaos.rates)} planned, {len(chaos.seen)} finished")
    for claim, what in wrong.items():
        print(f"WRONG: {claim}: {what}")
    print(f"{len(wrong)} things are wrong" if wrong else "nothing is wrong")
    return 1 if wrong or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
