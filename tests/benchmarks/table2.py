"""How long one epoch of MagnaTagATune takes for every network of Table 2 on this machine: from measured steps.

    python -m tests.benchmarks.table2

Words (key=value):
    networks=A,B   whose steps are measured (default: the deepest and a shallow one of every m), or all
    batch=23       segments of a step
    rounds=3       of which the medians are taken, after one to get warm
    threads=1      of a training
    device=cpu     or cuda
    precision=float32   or winograd or bf16 on cpu, tf32 or bf16 on cuda
    beside=no      yes: on cuda, the networks that hear segments of one length step beside each other, too, in one graph

Prints Markdown: seconds of a step, and hours of an epoch, the steps of MTAT's 15,244 training clips of 29.1 s without
the look at the validation clips. On a processor these are processor seconds, so others at work take little from them,
and a machine of n cores trains n networks in that time. What is not measured is projected: its operations, at the
seconds per operation of the measured networks of the same m, between which it is interpolated by n.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import median

import zoo
from datasets import words as typed
from datasets.errors import DatasetError

from .command import Say, device_and_precision, load, names, run, whole_numbers

MEASURED = (
    "samplecnn_m2_n6_s256",
    "samplecnn_m2_n10_s16",
    "samplecnn_m2_n14_s2",
    "samplecnn_m3_n4_s729",
    "samplecnn_m3_n6_s81",
    "samplecnn_m3_n9_s3",
    "samplecnn_m4_n4_s64",
    "samplecnn_m4_n7_s4",
    "samplecnn_m5_n4_s125",
    "samplecnn_m5_n6_s5",
)
CLIPS, CLIP_SAMPLES = 15_244, 641_655  # of the paper's training split
STAGES_EPOCHS = 60  # of a training, of which the goal speaks
BESIDE_HEADS = ("steps an epoch", "networks", "s of their steps in turn", "s beside each other", "times")
HEADS = ("network", "GFLOP a segment", "steps an epoch", "s a step", "hours an epoch", "the step is")


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...] = MEASURED
    batch: int = 23
    rounds: int = 3
    threads: int = 1
    device: str = "cpu"
    precision: str = "float32"
    beside: bool = False


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    least = {"batch": (2, 23), "rounds": (1, 3), "threads": (1, 1)}
    given = typed.parse(words, ("networks", *least, "device", "precision", "beside"))
    table = zoo.names(table="table2")
    measured = tuple(table) if given.get("networks") == "all" else names(given, MEASURED)
    device, precision = device_and_precision(given)
    if others := [name for name in measured if name not in table]:
        raise DatasetError(f"networks={others[0]} is none of Table 2; see python -m zoo list table=table2")
    if missing := {_m(name) for name in table} - {_m(name) for name in measured}:
        raise DatasetError(f"networks= holds none of m={min(missing)}; give one of each m of Table 2")
    beside = given.get("beside", "no")
    if beside not in ("yes", "no") or (beside == "yes" and device != "cuda"):
        raise DatasetError(f"beside={beside} and device={device}: give yes, which is for cuda, or no")
    numbers = whole_numbers(given, least)
    return Settings(measured, **numbers, device=device, precision=precision, beside=beside == "yes")


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure, project, and say the table. raises: DatasetError where there is no GPU."""
    import torch

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise DatasetError("device=cuda: this machine has no GPU that torch can use; take device=cpu")
    say(
        f"batch {wanted.batch}, {wanted.threads} threads, {wanted.device}, {wanted.precision}, load {load()}\n"
    )
    steps = {name: seconds(name, wanted) for name in wanted.networks}
    say(f"| {' | '.join(HEADS)} |\n| --- |{' ---: |' * (len(HEADS) - 2)} --- |")
    total = 0.0
    for name in zoo.names(table="table2"):
        step = steps.get(name) or projected(name, steps, wanted.batch)
        hours = step * steps_of(name, wanted.batch) / 3600
        total += hours
        say(row(name, step, hours, wanted.batch, name in steps))
    whole = total * STAGES_EPOCHS
    say(f"\nall: {total:.2f} hours an epoch, {whole:,.1f} hours of {STAGES_EPOCHS} epochs each")
    if wanted.beside:
        for line in beside_each_other(wanted, steps):
            say(line)
    say(f"load after: {load()}")


def beside_each_other(wanted: Settings, steps: Mapping[str, float]) -> Iterator[str]:
    """The measured networks by the length of their segments: a step of all of them, and of one after the other."""
    from .crowd import beside

    yield f"\n| {' | '.join(BESIDE_HEADS)} |\n| ---: |{' ---: |' * (len(BESIDE_HEADS) - 1)}"
    alone, together = 0.0, 0.0
    by_length = sorted(steps, key=lambda name: steps_of(name, wanted.batch))
    for count, some in groupby(by_length, lambda name: steps_of(name, wanted.batch)):
        alike = list(some)
        step = beside(alike, wanted.batch, wanted.device, wanted.precision)
        step()
        taken = median(step().wall for _ in range(wanted.rounds))
        in_turn = sum(steps[name] for name in alike)
        alone, together = alone + in_turn * count, together + taken * count
        cells = [f"{count:,}", str(len(alike)), f"{in_turn:.5f}", f"{taken:.5f}", f"{in_turn / taken:.2f}"]
        yield "| " + " | ".join(cells) + " |"
    hours = together / 3600
    yield (
        f"\nbeside each other: {hours:.2f} hours an epoch, {hours * STAGES_EPOCHS:,.1f} hours of {STAGES_EPOCHS} "
        f"epochs each, {alone / together:.2f} times one after the other"
    )


def seconds(name: str, wanted: Settings) -> float:
    """Of one step: the median of the rounds."""
    from search.trials import worker

    from . import gpu
    from .crowd import one_by_one

    if wanted.device == "cuda":
        step_on_gpu = gpu.ours(wanted.batch, wanted.precision, True, True, name)
        gpu.milliseconds(step_on_gpu, 5)
        return median(gpu.milliseconds(step_on_gpu, 20) for _ in range(wanted.rounds)) / 1e3
    worker.prepare(wanted.threads)
    step = one_by_one([name], wanted.batch, wanted.device, wanted.precision)
    step()
    taken = [step() for _ in range(wanted.rounds)]
    return median(each.core for each in taken)


def projected(name: str, measured: Mapping[str, float], batch: int) -> float:
    """Seconds of a step, from the measured networks of the same m: the nearest below and above in n."""
    import numpy as np

    alike = sorted((int(zoo.entry(it).options["n"]), it) for it in measured if _m(it) == _m(name))
    rates = [measured[it] / operations_of(it, batch) for _, it in alike]
    rate = np.interp(int(zoo.entry(name).options["n"]), [n for n, _ in alike], rates)
    return float(rate) * operations_of(name, batch)


def operations_of(name: str, batch: int) -> float:
    """Floating-point operations of a step, forwards and backwards."""
    return 6.0 * zoo.entry(name).cost().multiply_adds * batch


def steps_of(name: str, batch: int) -> int:
    """Of an epoch: whole batches of all whole segments of all clips."""
    return CLIPS * (CLIP_SAMPLES // zoo.entry(name).input_samples) // batch


def _m(name: str) -> int:
    return int(zoo.entry(name).options["m"])


def row(name: str, step: float, hours: float, batch: int, measured: bool) -> str:
    """A line of the table."""
    cells = [
        name,
        f"{operations_of(name, 1) / 1e9:.2f}",
        f"{steps_of(name, batch):,}",
        f"{step:.5f}" if step < 0.01 else f"{step:.3f}",
        f"{hours:.4f}" if hours < 0.1 else f"{hours:.2f}",
    ]
    return "| " + " | ".join([*cells, "measured" if measured else "projected"]) + " |"


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
