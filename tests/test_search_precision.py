"""Precisions on a processor: what can be had, and that nothing else changes."""

import pytest
import torch

from search.settings import SearchError, Training
from search.trials.precision import check, computing, full

CPU = torch.device("cpu")


def test_float32_leaves_a_processor_s_numbers_alone() -> None:
    with computing("float32", CPU) as forwards, forwards:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_bf16_takes_products_in_half_and_the_loss_in_full() -> None:
    with computing("bf16", CPU) as forwards:
        with forwards:
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == torch.bfloat16
        assert full(product).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32, "the way back is not cast"
    assert full(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("precision", "bf16"), [("tf32", True), ("bf16", False)])
def test_what_the_processor_cannot_do_is_refused(
    precision: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    with pytest.raises(SearchError) as refusal:
        check(Training(precision=precision), CPU)
    assert str(refusal.value) == (
        f"budget.precision={precision}: this processor has no instructions for it; take budget.precision=float32"
    )
    check(Training(), CPU)
