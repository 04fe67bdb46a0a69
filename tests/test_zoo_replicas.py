"""Several networks run as one: each gets what it would get alone."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from zoo.noise import Chance
from zoo.replicas import Replicas

EXACT = 1e-10
CPU = torch.device("cpu")
# Of each kind of layers, small.
FUSED = {
    "samplecnn_m3_n3_s9": {"filters": "half"},
    "samplecnn_m2_n3_s16_w32": {"filters": "half"},  # an uneven padding, and filters longer than the stride
    "melcnn_m3_n3_s27_w81": {"filters": "half"},
    "dieleman_mel": {},
}


def made(name: str, dropouts: tuple[float, ...]) -> list[nn.Module]:
    """In float64, each from a seed of its own, and with a dropout of its own where it has one."""
    networks = []
    for seed, dropout in enumerate(dropouts):
        torch.manual_seed(seed)
        options = FUSED.get(name, {}) | ({"dropout": dropout} if "dropout" in zoo.entry(name).options else {})
        networks.append(zoo.create(name, n_tags=5, **options).double().train())
    return networks


def chances_of(count: int) -> list[Chance]:
    chances = [Chance(CPU) for _ in range(count)]
    for seed, chance in enumerate(chances):
        with chance.own():
            torch.manual_seed(100 + seed)
    return chances


def descend(networks: list[nn.Module], losses: Tensor) -> None:
    losses.backward()
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter -= 0.05 * parameter.grad
                parameter.grad = None


def loss_of(logits: Tensor, tags: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, tags, reduction="none").mean(dim=(-2, -1)).sum()


@pytest.mark.parametrize("name", FUSED)
def test_several_networks_as_one_take_the_steps_that_each_takes_alone(name: str) -> None:
    dropouts = (0.5, 0.2, 0.0)
    alone, fused = made(name, dropouts), made(name, dropouts)
    torch.manual_seed(7)
    waves = torch.rand(4, 3, 6, alone[0].input_samples, dtype=torch.float64) * 2 - 1
    tags = (torch.rand(4, 3, 6, 5) < 0.3).double()
    for k, network in enumerate(alone):
        torch.manual_seed(100 + k)
        for step in range(4):
            descend([network], loss_of(network(waves[step, k]), tags[step, k]))
    replicas = Replicas(fused, chances_of(3))
    torch.manual_seed(3)
    outside = torch.get_rng_state()
    for step in range(4):
        loss = loss_of(replicas(waves[step]), tags[step])
        loss.backward()
        replicas.share_gradients()
        descend(fused, torch.zeros((), requires_grad=True))
    assert torch.equal(torch.get_rng_state(), outside)
    for one, other in zip(alone, fused, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()
        for key, value in one.state_dict().items():
            assert torch.allclose(other.state_dict()[key].double(), value.double(), rtol=EXACT, atol=EXACT), (
                key
            )
    assert all(not torch.equal(a.head.weight, b.head.weight) for a, b in pairwise(fused))


def test_what_is_loaded_into_one_network_is_seen_by_all_of_them_together() -> None:
    networks = made("samplecnn_m3_n3_s9", (0.0, 0.0))
    replicas = Replicas(networks, chances_of(2))
    waves = torch.rand(1, 2, networks[0].input_samples, dtype=torch.float64).expand(2, -1, -1)
    first, second = replicas(waves)
    assert not torch.allclose(first, second)
    networks[1].load_state_dict(networks[0].state_dict())
    first, second = replicas(waves)
    assert torch.allclose(first, second)


def test_a_network_that_was_one_of_several_is_saved_and_read_like_any_other(tmp_path: object) -> None:
    from safetensors.torch import load, save

    networks = made("samplecnn_m3_n3_s9", (0.0, 0.0))
    Replicas(networks, chances_of(2))
    for network in networks:
        stored = load(save(network.state_dict()))
        assert all(torch.equal(stored[name], value) for name, value in network.state_dict().items())
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_recurrent_layers_are_refused_by_name() -> None:
    networks = [zoo.create("crnn", n_tags=2, first=2, maps=2, units=2) for _ in range(2)]
    with pytest.raises(zoo.ZooError) as refusal:
        Replicas(networks, chances_of(2))
    assert str(refusal.value) == (
        "crnn: several can't be trained as one, for its layer top.gru_1.cell is a GRUCell; train them one by one"
    )


@pytest.mark.parametrize("other", ["samplecnn_m3_n3_s27", "samplecnn_m2_n3_s16_w32"])
def test_networks_of_different_layers_are_refused(other: str) -> None:
    networks = [*made("samplecnn_m3_n3_s9", (0.5,)), *made(other, (0.5,))]
    with pytest.raises(
        zoo.ZooError, match=r"s9 and .* can't be trained as one: their layers differ; only dropout"
    ):
        Replicas(networks, chances_of(2))


def test_networks_that_differ_in_width_alone_are_refused_too() -> None:
    networks = [zoo.create("samplecnn_m3_n3_s9", n_tags=2, filters=width) for width in ("half", "paper")]
    with pytest.raises(zoo.ZooError, match="their layers differ"):
        Replicas(networks, chances_of(2))
