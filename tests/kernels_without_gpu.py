"""What tests of Triton's kernels share: a processor that passes for a GPU, and how far numbers are from exact ones."""

import pytest
import torch
from torch import Tensor

from zoo.fast import together


def pass_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The processor, on which blocks are computed by the kernels, in Triton's interpreter (see conftest.py)."""
    if torch.cuda.is_available():
        pytest.skip("the kernels are compiled for the GPU here; see the tests of the same name on it")
    # The interpreter takes as long for a program however many numbers it has.
    monkeypatch.setattr("zoo.fast.fused_gpu.NARROW", 64)
    monkeypatch.setattr(together, "_is_gpu", lambda device: True)
    monkeypatch.setattr(together, "_has_kernels", lambda: True)
    return torch.device("cpu")


def distances(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Relative to the length of what is wanted, where that is not next to nothing."""
    lengths = {name: it.double().norm().clamp_min(1e-3) for name, it in wanted.items()}
    return {name: float((found[name].double() - it).norm() / lengths[name]) for name, it in wanted.items()}
