"""One training by several processes: each takes its share of every batch, and together they take the steps of one.

Batch norm and dropout would otherwise see the share alone: the statistics are those of the whole batch, and so is the
noise. So a training is the same on one GPU as on four, to rounding, and its signature does not say how many there were.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import batch_norm, dropout
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=30)  # for the slowest of the others, as while rank 0 writes a checkpoint


@dataclass
class Team:
    """The processes of one training. rank: of this one, counted from 0, which alone writes. ranks: how many there are.

    batch: segments that all of them are at together; whoever trains says so before each step.
    """

    rank: int = 0
    ranks: int = 1
    batch: int = 0

    def network(self, network: nn.Module) -> nn.Module:
        """The network to train with: it shares its parameters with the one given, whose layers are made to share."""
        if self.ranks == 1:
            return network
        share_layers(network, self)
        return DistributedDataParallel(network, broadcast_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same to the bit in each."""
        return _Total.apply(values) if self.ranks > 1 else values

    def mean_weight(self, share: int) -> float:
        """What the mean over this process's `share` of a batch is to be multiplied by before `backward`.

        The gradients of the processes are averaged; this makes their average that of the whole batch's mean.
        """
        return self.ranks * share / self.batch if self.ranks > 1 else 1.0

    def rows(self, count: int) -> slice:
        """Which of the batch's rows are this process's, as Split.batches divides them. count: rows of each segment."""
        share, left = divmod(self.batch, self.ranks)
        begin = self.rank * share + min(self.rank, left)
        return slice(begin * count, (begin + share + (self.rank < left)) * count)


ALONE = Team()


def join(address: str, rank: int, ranks: int, device: str) -> Team:
    """Meet the others. address: HOST:PORT where rank 0 listens. raises: RuntimeError if they don't come."""
    if address.startswith("127."):  # a machine whose own name resolves elsewhere must not matter to itself
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Its functions have the group that is there at their import for a default, and would hold it beyond `leave`: its
    # threads then end the process with "terminate called" where they outlive it.
    import_module("torch.distributed.nn")
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=ranks,
        timeout=PATIENCE,
    )
    return Team(rank, ranks)


def leave() -> None:
    """Part from the others, if there are any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class _Total(torch.autograd.Function):
    """A sum over processes. Each of them has a use for it, so its gradient is a sum over them, too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone()
        distributed.all_reduce(summed)
        return summed


def share_layers(network: nn.Module, team: Team) -> None:
    """Put layers that see the whole batch in the place of batch norm and dropout."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, _Norm(layer, team))
            elif type(layer) is nn.Dropout:
                setattr(parent, name, _Dropout(layer.p, team))


class _Norm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the whole batch, with the parameters and statistics of the layer that it stands for."""

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, team: Team) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, affine=False, track_running_stats=False
        )
        self.team, self.training, self.affine = team, layer.training, layer.affine
        self.track_running_stats = layer.track_running_stats
        self.weight, self.bias = layer.weight, layer.bias
        for name, values in layer.named_buffers(recurse=False):
            self.register_buffer(name, values)

    def _check_input_dim(self, input: Tensor) -> None:
        """The layer that it stands for has taken this input."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        input = input.float() if input.dtype == torch.bfloat16 else input  # it can't count to a thousand
        along = [0, *range(2, input.dim())]
        of_channel = (1, -1, *[1] * (input.dim() - 2))
        here = input.new_tensor([input.numel() / self.num_features])
        sums = self.team.total(torch.cat([input.sum(along), here]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = input - mean.view(of_channel)
        variance = self.team.total(centred.square().sum(along)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(of_channel)
        if self.weight is None:
            return scaled
        return scaled * self.weight.view(of_channel) + self.bias.view(of_channel)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Dropout(nn.Module):
    """Dropout whose noise is drawn for the whole batch, of which each process takes its rows."""

    def __init__(self, p: float, team: Team) -> None:
        super().__init__()
        self.p, self.team = p, team

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        mine = self.team.rows(1)
        count = len(input) // (mine.stop - mine.start)
        noise = dropout(input.new_ones(self.team.batch * count, *input.shape[1:]), self.p)
        return input * noise[self.team.rows(count)]
