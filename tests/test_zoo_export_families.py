"""Every family can leave the project: its cheapest network, and one of each kind of block, as an ONNX file."""

from pathlib import Path

import pytest
import torch

import zoo
from zoo.trained import exporting
from zoo.trained.exporting import export
from zoo.trained.tagger import Tagger

# Options that make the graph another one; networks that differ in sizes alone export alike.
KINDS = ("block", "branches")


def one_of_each_kind() -> list[str]:
    """The cheapest network of each family and kind of block."""
    cheapest: dict[tuple[object, ...], zoo.Entry] = {}
    for entry in map(zoo.entry, zoo.names()):
        kind = (entry.family, *(entry.options[key] for key in KINDS if key in entry.options))
        if kind not in cheapest or entry.cost().multiply_adds < cheapest[kind].cost().multiply_adds:
            cheapest[kind] = entry
    return [entry.name for entry in cheapest.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", one_of_each_kind())
def test_it_leaves_as_an_onnx_file_that_gives_its_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = zoo.create(name, n_tags=3).eval()
    card = zoo.Card.of(network, ("loud", "slow", "strange"))
    # Compares them, and refuses
    exported = export(Tagger(network, card, "this test"), tmp_path / "tagger.onnx")
    with torch.no_grad():
        largest = max(
            float(network(waves).abs().max()) for _, waves in exporting._waves(network.input_samples)
        )
    assert exported.difference <= max(1e-4, 1e-5 * largest)  # the second where logits are over 10
    assert exported.file.stat().st_size > 4 * zoo.entry(name).cost(3).parameters * 0.9
