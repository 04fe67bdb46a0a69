"""CUDA graphs played on the processor: what a capture launches, a replay launches again on the same memory.

As on a GPU none of our Python runs in a replay, and nothing in a capture may wait for a value. Streams do nothing here,
and no memory is used twice in a capture, so what goes wrong by these is not seen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from search.trials.cuda_graphs import Stepper
from zoo.fast.noise import Chance

ROOM = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}  # launches nothing
WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal"}


class Played:
    """Takes the place of torch.cuda.CUDAGraph. made, replays: of all of them.

    pools: those that the allocator has of captures. underway: those of captures that it believes to run.
    """

    made: ClassVar[list["Played"]] = []
    replays: ClassVar[int] = 0
    pools: ClassVar[set[tuple[int, int]]] = set()
    underway: ClassVar[set[tuple[int, int]]] = set()
    chance: ClassVar[Chance | None] = None  # by which is drawn now, if not from torch's own generator

    def __init__(self) -> None:
        self.launches: list[Callable[[], object]] = []
        self.chances: list[Chance] = []  # that were registered

    @torch.no_grad()
    def replay(self) -> None:
        Played.replays += 1
        for launch in self.launches:
            launch()


class _Capture(TorchDispatchMode):
    """Does everything, and writes down what a GPU would be asked for, but not what a kernel of Triton's does inside."""

    now: "_Capture | None" = None

    def __init__(self, graph: Played) -> None:
        super().__init__()
        self.graph, self.in_kernel = graph, False

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        name = function.overloadpacket.__name__
        if self.in_kernel:
            return function(*given, **named)
        if name in WAITS:
            raise RuntimeError(f"{name} waits for a value while a graph is captured")
        found = function(*given, **named)
        again = partial(function, *given, **named)
        if torch.Tag.nondeterministic_seeded in function.tags and Played.chance:
            assert Played.chance in self.graph.chances, (
                "a capture draws from a generator that it does not know"
            )
            again = partial(_drawn, Played.chance, again)
        if function._schema.is_mutable:
            self.graph.launches.append(again)
        elif name not in ROOM and not _is_view(found, (given, named)):
            kept = [it.detach() for it in _tensors(found)]
            self.graph.launches.append(lambda: _again(kept, again()))
        return found


class _Kernel:
    """One of Triton's, which a capture writes down as a whole."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, programs: Any) -> Callable[..., None]:
        def launch(*given: Any, **named: Any) -> None:
            capture = _Capture.now
            if capture is None:
                self.kernel[programs](*given, **named)
                return
            capture.in_kernel = True
            try:
                self.kernel[programs](*given, **named)
            finally:
                capture.in_kernel = False
            capture.graph.launches.append(lambda: self.kernel[programs](*given, **named))

        return launch

    def __call__(self, *given: Any) -> Any:
        """Within another kernel."""
        return self.kernel(*given)


def _tensors(values: object) -> list[Tensor]:
    return [it for it in tree_leaves(values) if isinstance(it, Tensor)]


def _is_view(found: object, given: object) -> bool:
    """All that was found lies in what was given."""
    memory = {it.untyped_storage().data_ptr() for it in _tensors(given)}
    return bool(_tensors(found)) and all(it.untyped_storage().data_ptr() in memory for it in _tensors(found))


def _drawn(chance: Chance, launch: Callable[[], object]) -> object:
    with chance.own():
        return launch()


def _again(kept: list[Tensor], found: object) -> None:
    for it, value in zip(kept, _tensors(found), strict=True):
        it.copy_(value)


def _told(own: Callable[[Chance], Any]) -> Callable[[Chance], Any]:
    """A generator that a graph knows is drawn from anew in each replay."""

    @contextmanager
    def told(chance: Chance) -> Iterator[None]:
        before, Played.chance = Played.chance, chance
        try:
            with own(chance):
                yield
        finally:
            Played.chance = before

    return told


class _Stream:
    """All is done in turn."""

    def __init__(self, *device: object) -> None: ...
    def wait_stream(self, other: object) -> None: ...


@contextmanager
def _captured(graph: Played, pool: tuple[int, int] = (0, 0), **how: object) -> Iterator[None]:
    Played.made.append(graph)
    Played.pools.add(pool)
    Played.underway.add(pool)
    with _Capture(graph) as capture:
        _Capture.now = capture
        try:
            yield
        finally:
            _Capture.now = None
    Played.underway.remove(pool)  # not after one that fails, as torch 2.11 does it


def _end_allocation(device: int | None, pool: tuple[int, int]) -> None:
    if pool not in Played.underway:
        raise RuntimeError("not currently recording to mempool_id")
    Played.underway.remove(pool)


def play(monkeypatch: pytest.MonkeyPatch, kernels: tuple[ModuleType, ...] = ()) -> None:
    """From here on steps are captured and replayed on the processor. kernels: modules with those of Triton's."""
    for module in kernels:
        for name in module.__all__:
            monkeypatch.setattr(module, name, _Kernel(getattr(module, name)))
    places: dict[str, object] = {
        "CUDAGraph": Played,
        "graph": _captured,
        "Stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": _Stream,
        "device": lambda device: nullcontext(),
        "graph_pool_handle": lambda: (0, len(Played.made) + 1),
        "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }
    for name, it in places.items():
        monkeypatch.setattr(torch.cuda, name, it)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", _end_allocation)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda device, pool: Played.pools.remove(pool))
    monkeypatch.setattr(Chance, "own", _told(Chance.own))
    monkeypatch.setattr(Chance, "register", lambda chance, graph: graph.chances.append(chance))
    made = Stepper.__init__

    def captures(self: Stepper, lanes: Any, buffers: Any, captures: bool, *more: Any) -> None:
        made(self, lanes, buffers, True, *more)

    monkeypatch.setattr(Stepper, "__init__", captures)
    monkeypatch.setattr(Played, "made", [])
    monkeypatch.setattr(Played, "replays", 0)
    monkeypatch.setattr(Played, "pools", set())
    monkeypatch.setattr(Played, "underway", set())
