"""The form that every network of the zoo has: named stages one after the other, then a dense head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available

from zoo.entry import Entry, check_tags
from zoo.errors import ZooError, did_you_mean

__all__ = ["WaveNetwork", "initialise"]


class WaveNetwork(nn.Module):
    """Waveforms in, logits out; what a family's `build` returns.

    stages:  name -> module, run in this order; the first gets (batch, 1, samples), the last gives (..., width).
             Their names begin the names of the weights, so they are part of a checkpoint's form.
    width:   of the embedding that the last stage gives, which the dense layer `head` reads.
    readout: what is left to do with the head's output (batch, ..., n_tags); None: it is the logits already.
    """

    def __init__(
        self,
        entry: Entry,
        n_tags: int,
        width: int,
        stages: Mapping[str, nn.Module],
        readout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.input_samples, self.sample_rate_hz = (
            entry.name,
            entry.input_samples,
            entry.sample_rate_hz,
        )
        self._stages = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.head = _fresh_head(width, n_tags)
        self.readout = readout

    @property
    def n_tags(self) -> int:
        """Length of a row of logits."""
        return self.head.out_features

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that `features` can look at, in the order in which they were made."""
        # What only holds other layers, such as nn.ModuleDict, is never called and gives nothing.
        return tuple(name for name, layer in self.named_modules() if name and _runs(layer))

    def forward(self, wave: Tensor) -> Tensor:
        """Tag one segment of each clip.

        wave:    (batch, input_samples), float32 in [-1, 1], mono at `sample_rate_hz`.
        returns: (batch, n_tags) logits; their sigmoid is a probability per tag.
        raises:  ZooError (a ValueError) if the segments are no tensor, or of another length, shape or type.
        """
        self._check(wave)
        return self._run(wave)

    def features(self, wave: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """What chosen layers give, for pictures, transfer and aggregation; gradients flow through it.

        wave:    as in `forward`, but of any length that the layers up to the last one chosen can take: what comes
                 after it is not run.
        layers:  a list of names out of `layers`, such as "front", "body.3", "body.3.conv".
        returns: {layer: its output}, in the order asked for; (batch, channels, frames) for convolutions over time. Of
                 a layer that runs several times, such as a recurrent cell, what it gave the first time.
        raises:  ZooError for no layer, for an unknown one (with the nearest), for one that does not run, or for waves
                 that are too short for a layer.
        Other threads may use the network meanwhile.
        """
        if isinstance(layers, str):
            raise ZooError(f"layers={layers!r} is one name, not a list; write [{layers!r}]")
        self._check_form(wave)
        wanted = {name: self.layer(name) for name in layers}
        if not wanted:
            raise ZooError(f"features needs the name of a layer; {self.name} has {', '.join(self._stages)}")
        found: dict[str, Tensor] = {}
        hooks = [
            layer.register_forward_hook(_Catch(name, found, len(wanted))) for name, layer in wanted.items()
        ]
        try:
            self._run_any_length(wave)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if missing := [name for name in layers if name not in found]:
            raise ZooError(f"{self.name}: {missing[0]} gives nothing by itself; ask for a layer inside it")
        return {name: found[name] for name in layers}

    def replace_head(self, n_tags: int) -> WaveNetwork:
        """Give the network a fresh dense layer for other tags, all else kept: transfer to another vocabulary.

        returns: the network itself. raises: ZooError for fewer than one tag.
        """
        check_tags(n_tags)
        old = self.head.weight
        self.head = _fresh_head(self.head.in_features, n_tags).to(old.device, old.dtype)
        return self

    def _run(self, wave: Tensor) -> Tensor:
        values = wave.unsqueeze(1)
        for name in self._stages:
            values = getattr(self, name)(values)
        logits = self.head(values)
        return logits if self.readout is None else self.readout(logits)

    def _run_any_length(self, wave: Tensor) -> None:
        """Run as far as the waves go. Raises ZooError where torch itself cannot do a layer on so few samples."""
        try:
            self._run(wave)
        except (ZooError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError) as error:
            if wave.shape[1] == self.input_samples:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ZooError(
                f"waves of {wave.shape[1]} samples do not go through all of {self.name} that was asked for: {reason}; "
                f"give segments of {self.input_samples} samples, or ask for layers before"
            ) from error

    def layer(self, name: str) -> nn.Module:
        """A layer by its name. raises: ZooError for an unknown one, with the nearest."""
        known = dict(self.named_modules())
        if name not in known or not name:
            near = did_you_mean(name, known) or f"; its stages are {', '.join(self._stages)}"
            raise ZooError(f"{self.name} has no layer {name!r}{near}")
        return known[name]

    def _check(self, wave: Tensor) -> None:
        self._check_form(wave)
        if wave.shape[1] != self.input_samples:
            raise ZooError(
                f"segment has {wave.shape[1]} samples, {self.name} reads {self.input_samples}; "
                f"open the dataset with segment_samples={self.input_samples}"
            )

    def _check_form(self, wave: Tensor) -> None:
        if not isinstance(wave, Tensor):
            array = f"{type(wave).__module__}.{type(wave).__qualname__}"
            raise ZooError(
                f"waves are {array}, {self.name} reads a tensor; torch.from_numpy(waves) makes one"
            )
        if wave.ndim != 2:
            raise ZooError(
                f"waves have shape {tuple(wave.shape)}, {self.name} reads (batch, {self.input_samples})"
            )
        if not wave.is_floating_point():
            raise ZooError(
                f"waves are {wave.dtype}, {self.name} reads floats in [-1, 1]; divide int16 by 32768"
            )
        weights = self.head.weight.dtype
        if wave.dtype != weights and not _autocasting(wave.device.type):
            raise ZooError(
                f"waves are {wave.dtype}, {self.name} has {weights} weights; make the waves .to({weights})"
            )


class _Enough(Exception):
    """All layers asked for have spoken."""


class _Catch:
    """A hook that keeps a layer's first output and ends the run with the last one wanted, in this thread alone."""

    def __init__(self, name: str, found: dict[str, Tensor], wanted: int) -> None:
        self.name, self.found, self.wanted = name, found, wanted
        self.thread = get_ident()

    def __call__(self, layer: nn.Module, inputs: object, output: Tensor) -> None:
        if get_ident() != self.thread:
            return
        self.found.setdefault(self.name, output)
        if len(self.found) == self.wanted:
            raise _Enough


def _runs(layer: nn.Module) -> bool:
    return type(layer).forward is not nn.Module.forward


def _autocasting(device: str) -> bool:
    return is_autocast_available(device) and torch.is_autocast_enabled(device)


def _fresh_head(width: int, n_tags: int) -> nn.Linear:
    head = nn.Linear(width, n_tags)
    _glorot(head)
    return head


def _glorot(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def initialise(network: nn.Module, init: str) -> None:
    """Draw fresh weights: convolutions as `init` says, dense layers Glorot uniform, biases zero.

    he_uniform:     uniform within sqrt(6 / (channels in * kernel)).
    keras110:       uniform within sqrt(6 / (channels in * channels out)), which Keras 1.1.0 drew under that name,
                    for it took the wrong axes of its (kernel, 1, in, out) weights for the fan.
    glorot_uniform: uniform within sqrt(6 / (fan in + fan out)).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and init != "glorot_uniform":
            kernel = math.prod(layer.kernel_size)
            fan = layer.out_channels if init == "keras110" else kernel
            bound = math.sqrt(6 / (layer.in_channels * fan))
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            _glorot(layer)
