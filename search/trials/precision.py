"""In which numbers a training computes; its weights, statistics and optimizer are float32 always."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from search.errors import SearchError
from search.settings import BF16, FLOAT32, WINOGRAD, Training
from zoo.fast import winograd

# What torch calls float32 to the last digit, and float32 whose products are taken of the first ten.
IEEE, TENSOR_FLOAT = "ieee", "tf32"


def check(training: Training, device: torch.device) -> None:
    """raises: SearchError if the device can't compute so, or would take ten times as long as in float32."""
    word, on_processor = training.precision, device.type == "cpu"
    if word == FLOAT32 or (word == WINOGRAD and on_processor):
        return
    if word == WINOGRAD:
        raise SearchError(f"budget.precision={word} is for processors; on a GPU take tf32 or bf16")
    if not on_processor and torch.cuda.get_device_capability(device) >= (8, 0):
        return
    if word == BF16 and on_processor and torch.cpu._is_avx512_bf16_supported():
        return
    where = "this processor" if on_processor else torch.cuda.get_device_name(device)
    raise SearchError(
        f"budget.precision={word}: {where} has no instructions for it; take budget.precision=float32"
    )


@contextmanager
def computing(word: str, device: torch.device) -> Iterator[AbstractContextManager[object]]:
    """Products of matrices and convolutions in here are taken as `word`, one of settings.PRECISIONS, says.

    Gives a context for the way through the network, but not for the way back, which follows it.
    """
    if device.type == "cpu":
        yield winograd.wanted() if word == WINOGRAD else _autocast(device, word)
        return
    cudnn: Any = torch.backends.cudnn
    backends = cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul
    before = [each.fp32_precision for each in backends]
    for each in backends:
        each.fp32_precision = IEEE if word == FLOAT32 else TENSOR_FLOAT
    try:
        yield _autocast(device, word)
    finally:
        for each, old in zip(backends, before, strict=True):
            each.fp32_precision = old


def _autocast(device: torch.device, word: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=word == BF16, cache_enabled=False)


def lay(word: str, network: nn.Module) -> None:
    """Put the filters over images where products in fewer digits want them on a GPU: channels beside each other.

    What they give then lies so, too. Filters of more than three frames take as long either way, or longer.
    """
    filters: list[Any] = [it for it in network.modules() if isinstance(it, nn.Conv2d)]
    for layer in filters:
        if max(layer.kernel_size) <= 3 and _is_for_gpu(word, layer.weight.device):
            layer.to(memory_format=torch.channels_last)


def _is_for_gpu(word: str, device: torch.device) -> bool:
    return device.type == "cuda" and word != FLOAT32


def full(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least, as a loss wants them."""
    return values.float() if values.dtype == torch.bfloat16 else values
