"""A network for asking only gives what the network gives in evaluation."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import zoo
from zoo.trained.folded import folded

# name: (its options, norms that are left: what normalises a spectrogram has no layer before it)
FAMILIES: dict[str, tuple[dict, int]] = {
    "samplecnn_m3_n3_s9": ({}, 0),
    "samplecnn_m2_n3_s16_w32": ({}, 0),
    "melcnn_m3_n3_s27_w81": ({}, 0),
    "samplecnn_rese2_multi": ({}, 0),
    "samplecnn_se": ({}, 0),
    "musicnn": ({"tall": 4, "long": 4, "middle": 4, "dense": 4}, 1),
    "short_chunk": ({"channels": 4}, 1),
    "short_chunk_res": ({"channels": 4}, 1),
    "crnn": ({"first": 4, "maps": 4, "units": 4}, 1),
    "dieleman_mel": ({}, 0),
    "dieleman_raw": ({}, 0),
}


def trained(name: str) -> nn.Module:
    """In float64, with norms that have seen something, and scales of both signs."""
    torch.manual_seed(0)
    network = zoo.create(name, n_tags=3, **FAMILIES[name][0]).double()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.normal_()
                layer.bias.normal_()
    return network.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folded_network_is_the_network_in_evaluation(name: str) -> None:
    network = trained(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    wave = torch.rand(2, network.input_samples, dtype=torch.float64) * 2 - 1
    asked = folded(network)
    with torch.no_grad():
        wanted, found = network(wave), asked(wave)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-10
    assert sum(isinstance(layer, _BatchNorm) for layer in asked.modules()) == FAMILIES[name][1]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_pooling_comes_first_and_changes_no_bit() -> None:
    network = trained("dieleman_raw").float()
    asked = folded(network)
    blocks = [block for block in asked.body if isinstance(block.activation, nn.MaxPool1d)]
    assert len(blocks) == 2
    seen: list[int] = []
    for block in blocks:
        block.pool.register_forward_hook(lambda layer, given, output: seen.append(output.shape[2]))
    wave = torch.rand(2, network.input_samples) * 2 - 1
    with torch.no_grad():
        found = asked(wave)
        for block in blocks:
            block.activation, block.pool = block.pool, block.activation
        again = asked(wave)
    unpooled = network.features(wave, [f"body.{i}.activation" for i in (1, 2)]).values()
    assert seen[:2] == [each.shape[2] // 4 for each in unpooled]
    assert torch.equal(found, again)


def test_a_network_in_training_stays_in_training() -> None:
    network = trained("samplecnn_m3_n3_s9").train()
    assert not folded(network).training
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_scores_do_not_depend_on_how_filters_lie_in_memory() -> None:
    network, other = trained("crnn").float(), trained("crnn").float()
    for layer in other.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    wave = torch.rand(2, network.input_samples) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(folded(other)(wave), folded(network)(wave))
