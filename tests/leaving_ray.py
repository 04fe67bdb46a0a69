"""Leaves Ray while another thread's garbage holds references to its objects.

The references are in cycles, so that they die where Python's collector runs; the thread runs it whenever it is on, as
any thread does that makes enough objects.
"""

import gc
import threading

import search.running.cluster  # noqa: F401  # sets Ray's variables, before Ray is imported

# isort: split
import ray

from datasets.head import leave
from search.running.cluster import LOCAL_RAY

CYCLES = 20_000


def cycle(reference: "ray.ObjectRef") -> list[object]:
    """An object that refers to itself and to one of Ray's."""
    made: list[object] = [ray.ObjectRef(reference.binary())]
    made.append(made)
    return made


def drop_and_collect(cycles: list[list[object]]) -> None:
    """Let go of one after another, and collect what is left of it."""
    while cycles:
        cycles.pop()
        if gc.isenabled():
            gc.collect()


def main() -> None:
    ray.init("local", num_cpus=1, log_to_driver=False, **LOCAL_RAY)
    gc.collect()
    gc.freeze()  # what is there already is not looked through again and again
    reference = ray.put(1)
    cycles = [cycle(reference) for _ in range(CYCLES)]
    thread = threading.Thread(target=drop_and_collect, args=(cycles,), daemon=True)
    thread.start()
    leave()
    print("still here")


if __name__ == "__main__":
    main()
