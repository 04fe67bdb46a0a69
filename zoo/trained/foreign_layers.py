"""Layers found among the tensors of a foreign network, and laid onto ours one by one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from zoo.errors import ZooError

__all__ = ["LAYOUTS", "Layer", "guess_layout", "keras_layers", "laid_onto", "naturally", "torch_layers"]

LAYOUTS = ("torch", "keras", "theano")
# Of batches that batch norm has seen; few ports keep it, and nothing here reads it
COUNTER = "num_batches_tracked"
# What torch calls the weights of one of the layers that its nn.GRU stacks; ours are cells, each with its own.
STACKED = re.compile(r"((?:weight|bias)_[ih]h)_(l[0-9]+)")
# Keras lists batch norm's vectors in this order.
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
KINDS = {
    "weights": "convolution or dense layer",
    "norm": "normalisation",
    "other": "recurrent or other layer",
}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """Tensors that belong together.

    kind:  one of KINDS. Layers are told apart by it, since some ports list their batch norms behind all the rest.
    parts: the part that a tensor plays (weight, bias, running_mean, ...) -> its own name.
    """

    name: str
    kind: str
    parts: Mapping[str, str]


def guess_layout(names: Iterable[str]) -> str:
    """Keras for the nameless arrays of `numpy.savez(file, *model.get_weights())`, torch for all else."""
    return "keras" if all(re.fullmatch(r"arr_[0-9]+", name) for name in names) else "torch"


def naturally(name: str) -> list[str | int]:
    """Sort key under which conv10 comes after conv2."""
    return [int(part[:18]) if part[:1].isdigit() else part for part in re.split(r"([0-9]+)", name)]


def torch_layers(tensors: Tensors) -> list[Layer]:
    """The layers of a state dict, by what stands before the last dot of its names, in its order.

    The layers of a stack of recurrent ones are several, called gru.l0, gru.l1 and so on.
    """
    found: dict[str, dict[str, str]] = {}
    for name in tensors:
        layer, _, part = name.rpartition(".")
        if recurrent := STACKED.fullmatch(part):
            part, layer = recurrent[1], f"{layer}.{recurrent[2]}"
        found.setdefault(layer, {})[part] = name
    return [Layer(layer, _kind(parts, tensors), parts) for layer, parts in found.items()]


def keras_layers(tensors: Tensors) -> list[Layer]:
    """The layers of a list of arrays, told by their shapes: a kernel, perhaps its bias, batch norms of four vectors.

    raises: ZooError for vectors that are neither.
    """
    runs: list[list[str]] = []
    for name, tensor in tensors.items():
        if tensor.ndim >= 2 or not runs:
            runs.append([])
        runs[-1].append(name)
    return [layer for run in runs for layer in _layers_of_run(run, tensors[run[0]].ndim >= 2)]


def _layers_of_run(names: Sequence[str], starts_with_kernel: bool) -> list[Layer]:
    """The layers among a kernel, if there is one, and the vectors up to the next kernel."""
    vectors = names[1:] if starts_with_kernel else names
    biases = len(vectors) % 4
    if biases > starts_with_kernel:
        raise ZooError(
            f"at {names[0]!r} come {len(vectors)} vectors; wanted are one bias, and four of each batch norm"
        )
    layers = []
    if starts_with_kernel:
        parts = {"weight": names[0]} | dict(zip(["bias"] * biases, vectors, strict=False))
        layers.append(Layer(names[0], "weights", parts))
    for i in range(biases, len(vectors), len(NORM_PARTS)):
        parts = dict(zip(NORM_PARTS, vectors[i : i + len(NORM_PARTS)], strict=True))
        layers.append(Layer(vectors[i], "norm", parts))
    return layers


def _kind(parts: Mapping[str, str], tensors: Tensors) -> str:
    if "running_mean" in parts or "running_var" in parts:
        return "norm"
    if "weight" not in parts:
        return "other"
    return "weights" if tensors[parts["weight"]].ndim >= 2 else "norm"


def laid_onto(
    ours: Tensors, layers: Sequence[Layer], tensors: Tensors, layout: str
) -> tuple[dict[str, Tensor], list[tuple[Layer, Layer]]]:
    """Give each of our tensors the foreign one in its place.

    Layers of one kind correspond in their order, or by name if all names are ours.
    ours:    the state dict to fill, without what no foreign file has.
    layers:  the foreign ones, in order; of `tensors`.
    layout:  "torch": as ours. "keras": kernels are (length, in, out), (length, 1, in, out) or (in, out) and become
             (out, in, length); in two dimensions (height, width, in, out). "theano": and run backwards in time, for
             Theano convolves where the others correlate. Axes of length 1 count nowhere.
    returns: our names with tensors of our shapes, still of their own type; and which layer came from which.
    raises:  ZooError at the first tensor, in our order, that is missing, too much or of another shape.
    """
    filled: dict[str, Tensor] = {}
    pairs = []
    for own, theirs in _paired(torch_layers(ours), layers):
        _check_parts(own, theirs)
        for part in own.parts.keys() & theirs.parts.keys() - {COUNTER}:
            name = own.parts[part]
            filled[name] = _fitted(theirs.parts[part], tensors, name, tuple(ours[name].shape), layout)
        pairs.append((own, theirs))
    return filled, pairs


def _paired(ours: Sequence[Layer], layers: Sequence[Layer]) -> Iterator[tuple[Layer, Layer]]:
    """Each of our layers with theirs. Raises ZooError where they run out, and at the end if some are left."""
    if _names(layers) == _names(ours):
        by_name = {layer.name: layer for layer in layers}
        yield from ((own, by_name[own.name]) for own in ours)
        return
    queues = {kind: deque(layer for layer in layers if layer.kind == kind) for kind in KINDS}
    for own in ours:
        if not queues[own.kind]:
            raise ZooError(f"it has no {KINDS[own.kind]} for {own.name}")
        yield own, queues[own.kind].popleft()
    if rest := [layer for queue in queues.values() for layer in queue]:
        raise ZooError(f"{rest[0].name[:80]!r} is a {KINDS[rest[0].kind]} more than ours has")


def _names(layers: Iterable[Layer]) -> set[tuple[str, str]]:
    return {(layer.name, part) for layer in layers for part in layer.parts if part != COUNTER}


def _check_parts(own: Layer, theirs: Layer) -> None:
    if missing := [part for part in own.parts if part not in theirs.parts and part != COUNTER]:
        why = "; batch norm cannot do without its running statistics" if "running" in missing[0] else ""
        raise ZooError(f"{theirs.name[:80]!r} has no {missing[0]}, and {own.name} has one{why}")
    if more := [part for part in theirs.parts if part not in own.parts and part != COUNTER]:
        raise ZooError(f"{theirs.parts[more[0]][:80]!r} has no counterpart in {own.name}")


def _fitted(theirs: str, tensors: Tensors, name: str, shape: tuple[int, ...], layout: str) -> Tensor:
    """The foreign tensor in our shape. Raises ZooError with both shapes if it does not go into it."""
    tensor = tensors[theirs]
    for form in _forms(tensor, len(shape), layout):
        if [size for size in form.shape if size != 1] == [size for size in shape if size != 1]:
            fitted = form.reshape(shape)
            return fitted.flip(tuple(range(2, len(shape)))) if layout == "theano" else fitted
    rows = _forms(tensor, len(shape), layout)[0].shape[:1]
    tags = f"; it is of {rows[0]} tags" if name.startswith("head.") and rows not in ((), shape[:1]) else ""
    raise ZooError(f"{theirs[:80]!r} has shape {tuple(tensor.shape)}, ours has {shape} there ({name}){tags}")


def _forms(tensor: Tensor, axes: int, layout: str) -> list[Tensor]:
    """The tensor with its axes in torch's order, the likeliest first."""
    if layout == "torch" or tensor.ndim < 2:
        return [tensor]
    if tensor.ndim == axes == 4:
        turned = tensor.permute(3, 2, 0, 1)
    else:
        turned = tensor.permute(tuple(reversed(range(tensor.ndim))))
    # Keras on Theano could be told to keep Theano's own order, which is torch's.
    return [turned, tensor] if layout == "theano" else [turned]
