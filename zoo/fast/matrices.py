"""Products of matrices on a processor, by the quicker of the two libraries that torch brings along.

torch.mm is MKL's, which keeps to 256-bit instructions on processors that are not Intel's. Where one has 512-bit ones,
oneDNN takes half of MKL's time (tests/benchmarks/README.md). torch asks it for convolutions alone; here it is asked for
products, by the operation that torch's own compiler uses.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["add_product", "product"]

CPUINFO = Path("/proc/cpuinfo")


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b, into `out` where that is given."""
    if not _by_onednn(a):
        return torch.mm(a, b, out=out)
    made = _onednn(a, b)
    return made if out is None else out.copy_(made)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b."""
    if _by_onednn(a):
        total += _onednn(a, b)
    else:
        total.addmm_(a, b)


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    """It copies a matrix `a` that does not lie row by row."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


def _by_onednn(a: Tensor) -> bool:
    return a.dtype == torch.float32 and bool(torch.backends.mkldnn.enabled) and _is_quicker()


@cache
def _is_quicker() -> bool:
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return wide and torch.backends.mkldnn.is_available() and _is_not_intels()


def _is_not_intels() -> bool:
    try:
        return "GenuineIntel" not in CPUINFO.read_text()
    except OSError:  # nobody says whose it is
        return False
