"""How fast a step of training is on a GPU, in every precision, beside plain PyTorch, in one run.

    python -m tests.benchmarks.gpu

Words (key=value):
    networks=A,B   by name (default: one of every kind)
    batch=23       segments of a step
    steps=20       of a round; rounds=5, of which the medians are taken: all forms take a round in turn
    parts=no       yes: what graphs and kernels do by themselves, too
    compile=no     yes: torch.compile of the plain form, too, which takes a minute a network
    profile=no     yes: which kernels the time of the first network goes to, plain and ours in bf16

Prints Markdown. The plain form is nn.Conv1d, nn.BatchNorm1d, nn.ReLU and nn.MaxPool1d with torch.optim.SGD, with
torch's own defaults, which take convolutions in TF32. Operations are those of convolutions and matrix products in both
directions.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from datasets import words as typed
from datasets.errors import DatasetError

from .command import Say, load, names, run, whole_numbers
from .step import KINDS

if TYPE_CHECKING:
    import torch

FLAGS = ("parts", "compile", "profile")
HEADS = ("network", "form", "ms a step", "segments/s", "TFLOP/s", "peak MB", "times plain")
Step = Callable[[], None]


@dataclass(frozen=True)
class Settings:
    """What the words say."""

    networks: tuple[str, ...]
    batch: int
    steps: int
    rounds: int
    parts: bool
    compile: bool
    profile: bool


def settings(words: Sequence[str]) -> Settings:
    """From `key=value` words. raises: DatasetError or zoo.ZooError for what can't be."""
    least = {"batch": (2, 23), "steps": (1, 20), "rounds": (1, 5)}
    given = typed.parse(words, ("networks", *least, *FLAGS))
    flags = {flag: given.get(flag, "no") for flag in FLAGS}
    if wrong := [flag for flag, word in flags.items() if word not in ("yes", "no")]:
        raise DatasetError(f"{wrong[0]}={flags[wrong[0]]}: give yes or no")
    wanted = {flag: word == "yes" for flag, word in flags.items()}
    return Settings(names(given, KINDS), **whole_numbers(given, least), **wanted)


def benchmark(wanted: Settings, say: Say = print) -> None:
    """Measure network after network, and say the table as it grows. raises: DatasetError where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise DatasetError(
            "this machine has no GPU that torch can use; python -m tests.benchmarks.step is for processors"
        )
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {wanted.batch}, load {load()}\n")
    for line in bounds():
        say(line)
    say(f"\n| {' | '.join(HEADS)} |\n| --- | --- |{' ---: |' * (len(HEADS) - 2)}")
    for name in wanted.networks:
        for line in rows(name, wanted):
            say(line)
    if wanted.profile:
        for form in ("plain", "bf16"):
            say(f"\n{wanted.networks[0]}, {form}:\n\n{profiled(forms(wanted)[form](wanted.networks[0]))}")
    say(f"\nload after: {load()}")


def forms(wanted: Settings) -> dict[str, Callable[[str], Step]]:
    """name -> what makes its step for a network; the plain one is first."""
    found: dict[str, Callable[[str], Step]] = {
        "plain": partial(plain, wanted.batch, "no"),
        "plain, autocast to bf16": partial(plain, wanted.batch, "bf16"),
    }
    if wanted.compile:
        found["the same, torch.compile(reduce-overhead)"] = partial(plain, wanted.batch, "compiled")
    for precision in ("float32", "tf32", "bf16"):
        found[precision] = partial(ours, wanted.batch, precision, True, True)
    if wanted.parts:
        found["bf16 without a graph"] = partial(ours, wanted.batch, "bf16", False, True)
        found["bf16 without kernels"] = partial(ours, wanted.batch, "bf16", True, False)
    return found


def rows(name: str, wanted: Settings) -> Iterator[str]:
    """A line of the table for each form."""
    import torch

    from .stepping import operations

    made: dict[str, tuple[Step, float]] = {}
    for form, make in forms(wanted).items():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            step = make(name)
            milliseconds(step, 3)
        except RuntimeError as error:
            yield f"| {name} | {form} | {(str(error).splitlines() or ['?'])[0][:80]} |" + " |" * (
                len(HEADS) - 3
            )
            continue
        made[form] = step, (torch.cuda.max_memory_allocated() - before) / 1e6
    taken = [
        {form: milliseconds(step, wanted.steps) for form, (step, _) in made.items()}
        for _ in range(wanted.rounds)
    ]
    todo = operations(name) * wanted.batch
    for form, (_, peak) in made.items():
        ms = median(each[form] for each in taken)
        times = f"{median(each['plain'] / each[form] for each in taken):.2f}" if "plain" in made else "-"
        cells = [
            name,
            form,
            f"{ms:.3f}",
            f"{wanted.batch / ms * 1e3:,.0f}",
            f"{todo / ms / 1e9:.1f}",
            f"{peak:,.0f}",
        ]
        yield "| " + " | ".join([*cells, times]) + " |"
    made.clear()
    torch.cuda.empty_cache()


def plain(batch: int, kind: str, name: str) -> Step:
    """As a port writes it. kind: no, bf16, or compiled."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from .stepping import LEARNING_RATE, network_of

    network, (waves, tags) = network_of("plain", name).cuda(), _batch(name, batch)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True)
    called = torch.compile(network, mode="reduce-overhead") if kind == "compiled" else network

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=kind != "no"):
            loss = binary_cross_entropy_with_logits(called(waves), tags)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ours(batch: int, precision: str, graph: bool, kernels: bool, name: str) -> Step:
    """As a search trains it."""
    from search.trials.cuda_graphs import GraphedStep
    from search.trials.optimizer import make
    from search.trials.precision import lay

    from .stepping import LEARNING_RATE, gradients_of, network_of

    network, (waves, tags) = network_of("ours", name).cuda(), _batch(name, batch)
    lay(precision, network)
    optimizer = make("nesterov", network.parameters())
    gradients = gradients_of(network, precision)
    with _kernels(kernels):
        if graph:
            captured = GraphedStep([gradients], [optimizer], list(network.buffers()), [waves], [tags])
            return lambda: _done(captured([waves], [tags], [LEARNING_RATE]))
        gradients(waves, tags)

    def step() -> None:
        with _kernels(kernels):
            gradients(waves, tags)
        optimizer.step(LEARNING_RATE)

    return step


def _done(losses: object) -> None:
    """A step gives nothing."""


@contextmanager
def _kernels(there: bool) -> Iterator[None]:
    """Blocks as one step, or their layers one by one."""
    from zoo.fast import together

    before = together._has_kernels
    if not there:
        together._has_kernels = lambda: False  # type: ignore[assignment]
    try:
        yield
    finally:
        together._has_kernels = before


def _batch(name: str, batch: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    import zoo

    entry = zoo.entry(name)
    waves = torch.rand(batch, entry.input_samples, device="cuda") * 2 - 1
    return waves, (torch.rand(batch, 50, device="cuda") < 0.1).float()


def milliseconds(step: Callable[[], object], count: int) -> float:
    """Of a step, among so many."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(count):
        step()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / count


def bounds() -> Iterator[str]:
    """What this GPU can do: copies, and products of matrices in every precision."""
    import torch

    from search.trials.precision import computing

    source = torch.rand(2**28, device="cuda")
    target = torch.empty_like(source)
    copy = median(milliseconds(partial(target.copy_, source), 5) for _ in range(5))
    yield f"copying: {2 * source.numel() * 4 / copy / 1e6:,.0f} GB/s read and written"
    for precision in ("float32", "tf32", "bf16"):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        matrix = torch.rand(8192, 8192, device="cuda").to(kind)
        with computing(precision, matrix.device):
            torch.mm(matrix, matrix)
            product = median(milliseconds(partial(torch.mm, matrix, matrix), 3) for _ in range(3))
        yield f"products of matrices in {precision}: {2 * 8192**3 / product / 1e9:,.0f} TFLOP/s"


def profiled(step: Step, count: int = 10) -> str:
    """Where the time of the GPU goes."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    milliseconds(step, 3)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(count):
            step()
        torch.cuda.synchronize()
    kernels = sorted(seen.key_averages(), key=lambda it: -it.self_device_time_total)
    whole = sum(it.self_device_time_total for it in kernels)
    lines = ["| kernel | ms a step | share | launches a step |", "| --- | ---: | ---: | ---: |"]
    for it in kernels[:16]:
        share = it.self_device_time_total / whole
        name = it.key.replace("|", " ")[:70]
        lines.append(
            f"| {name} | {it.self_device_time_total / 1e3 / count:.3f} | {share:.0%} | {it.count / count:.0f} |"
        )
    launches = sum(it.count for it in kernels) / count
    return "\n".join([*lines, f"| all | {whole / 1e3 / count:.3f} | 100% | {launches:.0f} |"])


def main(words: Sequence[str]) -> int:
    """Command line; returns the exit code."""
    return run(words, __doc__ or "", lambda given: benchmark(settings(given), partial(print, flush=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
