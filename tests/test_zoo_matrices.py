"""Products of matrices, by either library."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.fast import matrices, together, winograd
from zoo.layers.tower import ConvBlock


@pytest.fixture(params=["MKL", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(matrices, "_is_quicker", lambda: request.param == "oneDNN")
    return request.param


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The kinds of numbers of which oneDNN was asked for a product."""
    kinds: list[torch.dtype] = []
    real = matrices._onednn
    monkeypatch.setattr(matrices, "_onednn", lambda a, b: (kinds.append(a.dtype), real(a, b))[1])
    return kinds


def operands(form: str) -> tuple[Tensor, Tensor]:
    """Matrices of 60 x 48 and 48 x 32, as they lie or as views of others."""
    torch.manual_seed(0)
    memory = torch.randn(60 * 48 + 100)
    a = {
        "a matrix": memory[: 60 * 48].view(60, 48),
        "shifted": memory[7 : 7 + 60 * 48].view(60, 48),
        "turned": memory[: 60 * 48].view(48, 60).t(),
    }[form]
    return a, torch.randn(48, 32)


@pytest.mark.parametrize("form", ["a matrix", "shifted", "turned"])
@pytest.mark.parametrize("turned", [False, True])
def test_products_are_what_they_are_in_float64(
    form: str, turned: bool, library: str, asked: list[torch.dtype]
) -> None:
    a, b = operands(form)
    b = b.t().contiguous().t() if turned else b
    wanted = a.double() @ b.double()
    room = torch.zeros(60, 3, 32)
    assert torch.allclose(matrices.product(a, b).double(), wanted, atol=1e-5)
    given = matrices.product(a, b, room[:, 1])
    assert given.data_ptr() == room[:, 1].data_ptr()
    assert torch.allclose(room[:, 1].double(), wanted, atol=1e-5)
    assert not room[:, ::2].any()
    total = torch.ones(60, 32)
    matrices.add_product(total, a, b)
    assert torch.allclose(total.double(), wanted + 1, atol=1e-5)
    assert asked == [torch.float32] * (3 if library == "oneDNN" else 0)


@pytest.mark.parametrize(("fewer", "products"), [(False, 3), (True, 5)])
def test_a_block_has_all_its_products_from_the_library_that_is_quicker(
    fewer: bool, products: int, library: str, asked: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "FEWEST_FRAMES", 1)
    block = ConvBlock(4, 5, 3, pad=(1, 1), pool=3).train()
    with winograd.wanted(fewer):
        output = block(torch.randn(2, 4, 27, requires_grad=True))
    output.sum().backward()
    # Forwards, of the filters and of the frames
    assert len(asked) == (3 * products if library == "oneDNN" else 0)


def test_float64_is_not_rounded_to_float32(library: str, asked: list[torch.dtype]) -> None:
    a, b = (each.double() for each in operands("a matrix"))
    assert torch.equal(matrices.product(a, b), torch.mm(a, b))
    assert asked == []


def test_who_switches_onednn_off_does_without_it(
    library: str, asked: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    matrices.product(*operands("a matrix"))
    assert asked == []


@pytest.mark.parametrize(
    ("instructions", "maker", "quicker"),
    [
        ("AVX512", "AuthenticAMD", True),
        ("AVX512", "GenuineIntel", False),
        ("AVX2", "AuthenticAMD", False),
        ("DEFAULT", "GenuineIntel", False),
        ("AVX512", None, False),
    ],
)
def test_onednn_is_taken_where_mkl_leaves_half_of_the_processor_unused(
    instructions: str, maker: str | None, quicker: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if maker:
        (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {maker}\n")
    monkeypatch.setattr(matrices, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    assert matrices._is_quicker.__wrapped__() is quicker
