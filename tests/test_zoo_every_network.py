"""What holds for every network of the zoo, whoever wrote it: a new one is held to it by being listed."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from search.trials import worker
from search.trials.optimizer import make
from zoo.counting import counted
from zoo.multilevel import accept_untrained
from zoo.network import WaveNetwork

worker.keep_blocks()  # as in training: large activations, over and over

TAGS = ("loud", "slow", "strange")


@dataclass
class Heard:
    """A network with fresh weights, and what it says of two waves in evaluation; no test may change it."""

    network: WaveNetwork
    waves: Tensor
    embedding: Tensor
    logits: Tensor


@pytest.fixture(scope="module", params=zoo.names())
def heard(request: pytest.FixtureRequest) -> Heard:
    torch.manual_seed(0)
    network = zoo.create(request.param, n_tags=len(TAGS))
    assert isinstance(network, WaveNetwork)
    waves = torch.rand(2, network.input_samples) * 2 - 1
    zoo.calibrate(network, [waves])
    if zoo.entry(request.param).family == "multilevel":
        accept_untrained(network)
    network.eval()
    last = tuple(name for name, _ in network.named_children() if name not in ("head", "readout"))[-1]
    with torch.no_grad():
        embedding = network.features(waves, [last])[last]
        return Heard(network, waves, embedding, network(waves))


def test_every_wave_gets_a_finite_logit_for_each_tag(heard: Heard) -> None:
    assert heard.logits.shape == (2, 3)
    assert heard.logits.dtype == torch.float32
    assert torch.isfinite(heard.logits).all()


def test_in_evaluation_a_wave_is_tagged_alike_in_any_batch(heard: Heard) -> None:
    with torch.no_grad():
        alone = heard.network(heard.waves[1:])
    assert torch.allclose(alone, heard.logits[1:], atol=1e-4, rtol=1e-4)


def test_silence_is_no_trouble(heard: Heard) -> None:
    with torch.no_grad():
        assert torch.isfinite(heard.network(torch.zeros_like(heard.waves[:1]))).all()


def test_the_head_reads_what_the_last_stage_gives(heard: Heard) -> None:
    network = heard.network
    with torch.no_grad():
        logits = network.head(heard.embedding)
        logits = logits if network.readout is None else network.readout(logits)
    assert torch.allclose(logits, heard.logits, atol=1e-6)


def test_a_checkpoint_gives_the_very_network_back(heard: Heard, tmp_path: Path) -> None:
    zoo.save(heard.network, tmp_path / "checkpoint", zoo.Card.of(heard.network, TAGS))
    network, card = zoo.read(tmp_path / "checkpoint")
    assert card.tags == TAGS
    saved, read = heard.network.state_dict(), network.state_dict()
    assert list(saved) == list(read)
    assert all(torch.equal(saved[name], read[name]) for name in saved)
    with torch.no_grad():
        assert torch.equal(network.eval()(heard.waves[:1]), heard.network(heard.waves[:1]))


def cancelled(network: nn.Module, waves: Tensor) -> set[str]:
    """Biases without effect: directly in front of a batch norm, or of an attention's keys, which share it."""
    makers: dict[int, tuple[str, Tensor]] = {}  # what gave a tensor, by the tensor, which is held on to
    found = {f"{name}.bias" for name, _ in network.named_modules() if name.endswith("attention.key")}

    def made(name: str, output: Tensor) -> None:
        makers[id(output)] = (name, output)

    def normed(frames: Tensor) -> None:
        if id(frames) in makers:
            found.add(f"{makers[id(frames)][0]}.bias")

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda layer, given, output, name=name: made(name, output))
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda layer, given: normed(given[0]))
    with torch.no_grad():
        network(waves)
    return found


def test_a_training_step_moves_every_parameter_by_a_finite_gradient(heard: Heard) -> None:
    network = deepcopy(heard.network).train()
    torch.manual_seed(0)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    # Of two segments with one frame each, batch norm leaves only the signs, and no gradient behind it.
    waves = torch.cat([heard.waves, heard.waves[:1] * torch.linspace(0, 1, heard.waves.shape[1])])
    tags = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    loss = binary_cross_entropy_with_logits(network(waves), tags)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in trained.items():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert torch.isfinite(parameter.grad).all(), name
    make("nesterov", network.parameters()).step(0.01)
    still = {name for name in trained if torch.equal(before[name], trained[name])}
    assert still <= cancelled(deepcopy(heard.network), heard.waves)


def test_another_head_leaves_all_else_as_it_is(heard: Heard) -> None:
    network = deepcopy(heard.network)
    before = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    assert network.replace_head(5) is network
    assert network.n_tags == 5
    with torch.no_grad():
        logits = network.head(heard.embedding)
        logits = logits if network.readout is None else network.readout(logits)
    assert logits.shape == (2, 5)
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("name", zoo.names())
def test_an_entry_tells_what_it_is_how_big_and_how_sure(name: str) -> None:
    entry = zoo.entry(name)
    assert entry.name == name
    assert entry.description
    assert entry.source
    assert entry.certainty.note
    assert entry.depth is None or entry.depth >= 2
    assert entry.receptive_field_samples is None or entry.receptive_field_samples >= 2
    assert all(option.meaning for option in entry.rules.options.values())
    assert entry.overrides == {}
    assert all(0.5 < row.auc < 1 and row.dataset in ("mtat", "msd") for row in entry.paper)


@pytest.mark.parametrize("name", zoo.names())
def test_a_cost_is_what_is_counted_on_the_network(name: str) -> None:
    entry = zoo.entry(name)
    for n_tags in (7, 50):
        known, now = entry.cost(n_tags), counted(partial(entry.build, n_tags), entry.input_samples)
        assert known == now


@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.entry(name).counted])
def test_a_published_parameter_count_is_ours_or_the_difference_is_explained(name: str) -> None:
    entry = zoo.entry(name)
    assert entry.counted is not None
    same = entry.counted.parameters == entry.cost().parameters
    assert same != bool(entry.counted.difference), (entry.counted, entry.cost().parameters)
