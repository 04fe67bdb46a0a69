"""What tests of several networks as one share: small networks, and their gradients as one and each alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from search.trials.at_once import AtOnce
from search.trials.precision import computing, full
from zoo.fast.noise import Chance
from zoo.fast.stackable import can_be_stacked
from zoo.fast.stacked import Stacked

RAW, MEL = "samplecnn_m2_n3_s16", "melcnn_m3_n3_s81_w81"


def a_network(seed: int, name: str = RAW, filters: str = "half", **options: object) -> nn.Module:
    """In training, with scales of both signs, statistics and spectrogram scale of its own."""
    torch.manual_seed(seed)
    network = zoo.create(name, filters=filters, **options).train()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d):
                for it in (layer.weight, layer.bias, layer.running_mean):
                    it.normal_()
        if hasattr(network.front, "mean"):
            network.front.mean.fill_(0.1 * seed)
            network.front.std.fill_(1.0 + seed)
    return network


def learned(networks: Sequence[nn.Module]) -> list[dict[str, Tensor]]:
    """Gradients and statistics of each."""
    return [
        {
            name: it.grad.detach().cpu()
            for name, it in each.named_parameters()
            if not name.endswith("conv.bias")
        }
        | {name: it.detach().cpu() for name, it in each.named_buffers()}
        for each in networks
    ]


def a_batch(networks: Sequence[nn.Module], batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(9)
    shape = len(networks), batch
    waves = torch.rand(*shape, networks[0].input_samples, device=device) * 2 - 1
    return waves, (torch.rand(*shape, networks[0].n_tags, device=device) < 0.1).float()


def as_one(networks: list[nn.Module], waves: Tensor, tags: Tensor, precision: str = "float32") -> Tensor:
    """Leaves the gradients of each in it. Returns the loss of each."""
    assert can_be_stacked(networks, waves.shape[1])
    together = Stacked(networks, [Chance(waves.device) for _ in networks])
    losses = one_way(together, waves, tags, precision)
    together.close()
    return losses


def one_way(together: Stacked, waves: Tensor, tags: Tensor, precision: str = "float32") -> Tensor:
    return AtOnce(together, precision).gradients(waves, tags)


def each_alone(
    networks: Sequence[nn.Module], waves: Tensor, tags: Tensor, precision: str = "float32"
) -> Tensor:
    losses = []
    for network, wave, wanted in zip(networks, waves, tags, strict=True):
        with computing(precision, waves.device) as forwards:
            with forwards:
                logits = full(network(wave))
            loss = binary_cross_entropy_with_logits(logits, wanted)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses)


def far_from_exact(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Relative length of what is wrong of all values together."""
    wrong = sum(float((found[name].double() - it).square().sum()) for name, it in wanted.items())
    return (wrong / sum(float(it.double().square().sum()) for it in wanted.values())) ** 0.5
