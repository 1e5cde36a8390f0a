"""Stochastic gradient descent with momentum, step by step as `torch.optim.SGD` does it.

Any optimizer of `torch.optim` imports PyTorch's compiler when it is made: a second, and 100 MB in every worker.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.sgd import sgd


class SGD:
    """Moves parameters against their gradients: `m ← μm + g + λw`, `w ← w − ηm`, with m = g + λw at first."""

    def __init__(
        self, parameters: Iterable[Parameter], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        self.lr = lr
        self.momenta: dict[Parameter, Tensor] = {}  # of those that have moved
        self._parameters = list(parameters)
        self._momentum = momentum
        self._weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with each parameter that has a gradient."""
        moved = [parameter for parameter in self._parameters if parameter.grad is not None]
        momenta = [self.momenta.get(parameter) for parameter in moved]
        sgd(
            list[Tensor](moved),
            [parameter.grad for parameter in moved if parameter.grad is not None],
            momenta,
            lr=self.lr,
            momentum=self._momentum,
            weight_decay=self._weight_decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
        self.momenta.update(
            (one, momentum) for one, momentum in zip(moved, momenta, strict=True) if momentum is not None
        )
