"""A process that trains, a step when told: `python -m tests.benchmarks.stepping FORM NETWORK BATCH THREADS`.

A process of its own for each form, so that one's allocator settings and memory are not the other's. Every line on its
input is one step, or a quarter of a second of small ones, answered by a line of JSON: wall and processor seconds of one
step, and the most memory so far.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.fast import matrices, winograd
from zoo.layers.frontends import LogMel
from zoo.layers.tower import ConvBlock

# Ours, ours by fewer products (zoo/fast/winograd.py), torch's layers in the process of a worker, and in a default one
FORMS = ("ours", "winograd", "layers", "plain")
LEARNING_RATE = 0.01
LEAST_SECONDS = 0.25  # of steps that are timed together: one of a few milliseconds is mostly noise

Step = Callable[[], None]


@dataclass(frozen=True)
class Taken:
    """Of one step, the mean of those that were timed together. peak_bytes: the most memory of the process so far."""

    wall: float
    core: float
    peak_bytes: int


class PlainLogMel(nn.Module):
    """The same bands of torchaudio's spectrogram: (batch, 1, samples) -> (batch, bands, frames)."""

    def __init__(self, ours: LogMel) -> None:
        super().__init__()
        from torchaudio.transforms import Spectrogram

        form = ours.spectrogram
        self.spectrogram = Spectrogram(
            form.fft_samples, form.window_samples, form.hop_samples, power=form.power
        ).to(ours.filter_bank.device)
        self.frames, self.ours = form.frames, ours

    def forward(self, wave: Tensor) -> Tensor:
        """Compressed and standardised as ours are."""
        spectrum = self.spectrogram(wave.squeeze(1))[..., : self.frames]
        values = self.ours.compress(self.ours.filter_bank @ spectrum)
        return values if self.ours.standardise == "none" else (values - self.ours.mean) / self.ours.std


def in_plain_layers(network: nn.Module) -> nn.Module:
    """The same weights and function as ports write it: nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool1d in a row."""
    for name, child in network.named_children():
        if type(child) is ConvBlock:
            uneven = [nn.ZeroPad1d(child.uneven_pad)] if child.uneven_pad else []
            setattr(
                network, name, nn.Sequential(*uneven, child.conv, child.norm, child.activation, child.pool)
            )
        elif isinstance(child, LogMel):
            setattr(network, name, PlainLogMel(child))
        else:
            in_plain_layers(child)
    return network


def network_of(form: str, name: str) -> nn.Module:
    """In training, on torch's default device."""
    torch.manual_seed(0)
    network = zoo.create(name).train()
    return in_plain_layers(network) if form in ("layers", "plain") else network


def step_of(form: str, name: str, batch: int, threads: int) -> Step:
    """One step of training on noise: ours as a worker of a search takes it, or plain PyTorch's in a default process."""
    ours = form != "plain"
    if ours:
        from search.trials import worker

        worker.prepare(threads)
    torch.set_num_threads(threads)
    network = network_of(form, name)
    waves = torch.rand(batch, network.input_samples) * 2 - 1
    tags = (torch.rand(batch, network.n_tags) < 0.1).float()
    update = _our_update(network) if ours else _plain_update(network)

    def step() -> None:
        with winograd.wanted(form == "winograd"):
            loss = binary_cross_entropy_with_logits(network(waves), tags)
        loss.backward()
        update()

    return step


def gradients_of(network: nn.Module, precision: str) -> Callable[[Tensor, Tensor], Tensor]:
    """What leaves the gradients of a batch in a network's parameters and returns its mean loss."""
    from search.trials.precision import computing, full

    def gradients(waves: Tensor, tags: Tensor) -> Tensor:
        with computing(precision, waves.device) as forwards:
            with forwards:
                logits = network(waves)
            loss = binary_cross_entropy_with_logits(full(logits), tags)
            loss.backward()
        return loss.detach()

    return gradients


def _our_update(network: nn.Module) -> Step:
    from search.trials.optimizer import make

    optimizer = make("nesterov", network.parameters())
    return lambda: optimizer.step(LEARNING_RATE)


def _plain_update(network: nn.Module) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return update


def operations(name: str) -> float:
    """Floating-point operations of a training step per segment, in convolutions and matrix products."""
    with torch.device("meta"):
        network = network_of("plain", name)
        waves = torch.zeros(2, network.input_samples)
    with FlopCounterMode(display=False) as counter:
        network(waves).sum().backward()
    return counter.get_total_flops() / 2


def timed(step: Step, least_seconds: float = LEAST_SECONDS) -> Taken:
    """Take a step, or as many as fill these seconds."""
    wall, core, n = time.perf_counter(), time.process_time(), 0
    while not n or time.perf_counter() - wall < least_seconds:
        step()
        n += 1
    wall, core = (time.perf_counter() - wall) / n, (time.process_time() - core) / n
    return Taken(wall, core, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def product_rate(threads: int, size: int = 2048) -> float:
    """Operations per processor second of a product of two square matrices, by the library that is taken: the bound."""
    torch.set_num_threads(threads)
    matrix = torch.rand(size, size)
    return max(2 * size**3 / timed(lambda: _multiply(matrix)).core for _ in range(3))


def _multiply(matrix: Tensor) -> None:
    matrices.product(matrix, matrix)


def main(form: str, name: str, batch: int, threads: int) -> None:
    """Answer until the input ends."""
    step = step_of(form, name, batch, threads)
    for _ in sys.stdin:
        print(json.dumps(vars(timed(step))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
