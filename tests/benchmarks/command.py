"""What the benchmarks' command lines have in common; it imports nothing that takes long."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from datasets.errors import DatasetError
from search.errors import SearchError
from search.settings import FLOAT32, PRECISIONS, TF32, WINOGRAD
from zoo.errors import ZooError

__all__ = ["Say", "device_and_precision", "load", "names", "run", "whole_numbers"]

Say = Callable[[str], None]


def run(words: Sequence[str], about: str, benchmark: Callable[[Sequence[str]], None], disk: str = "") -> int:
    """Measure, or say `about` if asked; returns the exit code: 0 measured, 2 refused with one line, 130 interrupted.

    disk: what to change where files can't be written.
    """
    if {"--help", "-h", "help"} & set(words):
        print(about)
        return 0
    try:
        benchmark(words)
    except (DatasetError, SearchError, ZooError) as problem:
        print(problem, file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"{problem}; {disk}" if disk else problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is kept, the same command begins again", file=sys.stderr)
        return 130
    return 0


def whole_numbers(given: Mapping[str, str], least: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """The numbers among the words. least: key -> (the least it may be, what it is where the words don't say)."""
    found = {}
    for key, (_, default) in least.items():
        try:
            found[key] = int(given.get(key, default))
        except ValueError:
            raise DatasetError(f"{key}={given[key]} is no whole number") from None
    if any(found[key] < low for key, (low, _) in least.items()):
        *others, last = [f"{key}={low}" for key, (low, _) in least.items()]
        raise DatasetError(
            f"give at least {', '.join(others)} and {last}" if others else f"give at least {last}"
        )
    return found


def device_and_precision(given: Mapping[str, str]) -> tuple[str, str]:
    """What `device=` and `precision=` say, or cpu and float32. raises: DatasetError for what the device has not."""
    device, precision = given.get("device", "cpu"), given.get("precision", FLOAT32)
    if device not in ("cpu", "cuda"):
        raise DatasetError(f"device={device}: give cpu or cuda")
    there = [each for each in PRECISIONS if each != (TF32 if device == "cpu" else WINOGRAD)]
    if precision not in there:
        raise DatasetError(f"precision={precision}: device={device} has {', '.join(there)}")
    return device, precision


def names(given: Mapping[str, str], default: Sequence[str]) -> tuple[str, ...]:
    """The networks that `networks=` lists. raises: ZooError for a name that is none."""
    import zoo

    listed = given["networks"].split(",") if "networks" in given else default
    return tuple(zoo.entry(name).name for name in listed)


def load() -> str:
    """How busy the machine has been: processes that ran or waited, over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
