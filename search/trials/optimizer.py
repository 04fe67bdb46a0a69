"""Ways of descending, in torch's own arithmetic.

torch's own classes import its compiler at their first step, which costs a worker of a search five seconds of start
for nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

VELOCITY = "velocity"
Slots = dict[str, list[Tensor]]  # what a rule remembers of each parameter, by the name of the slot
# (slots, gradients, number of the step) -> directions
Rule = Callable[[Slots, list[Tensor], "int | Tensor"], list[Tensor]]


class Optimizer:
    """Moves the parameters that can be trained against their gradients, by a rule; every one needs a gradient.

    weight_decay: times the parameter, is added to its gradient. steps, slots: all that the next step depends on.
    momentum: of Nesterov's rule, by which kernels take the whole step on a GPU; 0 where the rule is another.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rule: Rule,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = rule.momentum if isinstance(rule, Nesterov) else 0.0
        self.parameters: list[Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
        self.rule, self.weight_decay = rule, weight_decay
        self.slots: Slots = {}
        self.steps = 0

    def forget(self) -> None:
        """Be as good as new. What it remembers becomes zero where it lies, as a captured step knows it there."""
        self.steps = 0
        for values in self.slots.values():
            for value in values:
                value.zero_()

    def step(self, learning_rate: float) -> None:
        """Move every parameter and forget its gradient."""
        self.steps += 1
        self.move(learning_rate, self.steps)

    @torch.no_grad()
    def move(self, learning_rate: float | Tensor, step: int | Tensor) -> None:
        """A step of this number, which is not counted.

        A captured one takes both from the GPU, as tensors of (), the number in float64: Adam's first steps subtract
        powers of it from 1 that float32 can hardly tell from 1.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.momentum and self.slots and isinstance(learning_rate, Tensor) and self._lie_alike(gradients):
            self._fused(gradients, learning_rate)
        else:
            self._move(gradients, learning_rate, step)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """As after every step."""
        for parameter in self.parameters:
            parameter.grad = None

    def _lie_alike(self, gradients: list[Tensor]) -> bool:
        """As torch's own kernel wants them: densely, and in the same order."""
        together = zip(self.parameters, gradients, self.slots[VELOCITY], strict=True)
        return all(_is_dense(it) and it.stride() == g.stride() == v.stride() for it, g, v in together)

    def _fused(self, gradients: list[Tensor], learning_rate: Tensor) -> None:
        """By one kernel of torch's own, which takes its rate from the GPU."""
        torch._fused_sgd_(
            self.parameters,
            gradients,
            self.slots[VELOCITY],
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
            is_first_step=False,
        )

    def _move(self, gradients: list[Tensor], learning_rate: float | Tensor, step: int | Tensor) -> None:
        if self.weight_decay:
            torch._foreach_add_(gradients, self.parameters, alpha=self.weight_decay)
        directions = self.rule(self.slots, gradients, step)
        if isinstance(learning_rate, Tensor):
            torch._foreach_mul_(directions, learning_rate)
            torch._foreach_sub_(self.parameters, directions)
        else:
            torch._foreach_add_(self.parameters, directions, alpha=-learning_rate)


def sgd(slots: Slots, gradients: list[Tensor], step: int | Tensor) -> list[Tensor]:
    """Plain gradient descent."""
    return gradients


@dataclass(frozen=True)
class Nesterov:
    """The same steps as torch.optim.SGD(nesterov=True), bit for bit. momentum: what it keeps of a step, above 0."""

    momentum: float

    def __call__(self, slots: Slots, gradients: list[Tensor], step: int | Tensor) -> list[Tensor]:
        if VELOCITY in slots:
            torch._foreach_mul_(slots[VELOCITY], self.momentum)
            torch._foreach_add_(slots[VELOCITY], gradients)
        else:
            slots[VELOCITY] = [gradient.clone() for gradient in gradients]
        return list(torch._foreach_add(gradients, slots[VELOCITY], alpha=self.momentum))


def adam(slots: Slots, gradients: list[Tensor], step: int | Tensor) -> list[Tensor]:
    """Kingma and Ba 2015 with their defaults (0.9, 0.999, 1e-8), as torch.optim.Adam to rounding."""
    if not slots:
        slots["mean"], slots["square"] = ([torch.zeros_like(g) for g in gradients] for _ in range(2))
    torch._foreach_lerp_(slots["mean"], gradients, 0.1)
    torch._foreach_mul_(slots["square"], 0.999)
    torch._foreach_addcmul_(slots["square"], gradients, gradients, value=0.001)
    scale = torch._foreach_sqrt(slots["square"])
    torch._foreach_div_(scale, _factor((1 - 0.999**step) ** 0.5))
    torch._foreach_add_(scale, 1e-8)
    directions = torch._foreach_div(slots["mean"], scale)
    torch._foreach_div_(directions, _factor(1 - 0.9**step))
    return list(directions)


def _is_dense(tensor: Tensor) -> bool:
    """Nothing lies between its numbers."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


def _factor(value: float | Tensor) -> float | Tensor:
    return value.float() if isinstance(value, Tensor) else value


def adagrad(slots: Slots, gradients: list[Tensor], step: int | Tensor) -> list[Tensor]:
    """Duchi et al. 2011, as torch.optim.Adagrad to rounding."""
    if not slots:
        slots["square"] = [torch.zeros_like(gradient) for gradient in gradients]
    torch._foreach_addcmul_(slots["square"], gradients, gradients, value=1)
    scale = torch._foreach_sqrt(slots["square"])
    torch._foreach_add_(scale, 1e-10)
    return list(torch._foreach_div(gradients, scale))


def make(
    name: str, parameters: Iterable[nn.Parameter], momentum: float = 0.9, weight_decay: float = 0.0
) -> Optimizer:
    """The optimizer of that name, one of search.settings.OPTIMIZERS. momentum: what "nesterov" keeps of a step."""
    if name == "nesterov" and momentum:
        return Optimizer(parameters, Nesterov(momentum), weight_decay)
    # Without momentum nothing is kept
    rules = {"nesterov": sgd, "sgd": sgd, "adam": adam, "adagrad": adagrad}
    return Optimizer(parameters, rules[name], weight_decay)
