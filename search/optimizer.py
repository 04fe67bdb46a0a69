"""Stochastic gradient descent with Nesterov momentum, as the paper trains."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class NesterovSGD:
    """The same steps as torch.optim.SGD(nesterov=True), bit for bit, for parameters that all have gradients.

    torch's own class imports its compiler at the first step, which costs a worker of a search five seconds of start
    for nothing. momentum: 0 is plain gradient descent.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.momentum = momentum
        self.velocities: list[Tensor] = []

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every parameter against its gradient and forget the gradient."""
        steps = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.momentum:
            if self.velocities:
                torch._foreach_mul_(self.velocities, self.momentum)
                torch._foreach_add_(self.velocities, steps)
            else:
                self.velocities = [gradient.clone() for gradient in steps]
            steps = list(torch._foreach_add(steps, self.velocities, alpha=self.momentum))
        torch._foreach_add_(self.parameters, steps, alpha=-learning_rate)
        for parameter in self.parameters:
            parameter.grad = None
