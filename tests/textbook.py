"""EMMA's matrix step as FACTS and paper write it down: double backward, and nothing shared. What the fast form is
held against, by tests and by benchmarks."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def outer_loss(net: nn.Module, x: Tensor, p: Tensor, T: Tensor, lr: float, weight: float) -> Tensor:
    """Steps 1 to 3 of the method, differentiable in T; the network stays as it is."""
    theta = {name: w.detach().clone().requires_grad_() for name, w in net.named_parameters()}
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    mixed = torch.clamp(p @ T, 1e-12, 1)
    s = mixed / mixed.sum(dim=1, keepdim=True)
    logits = functional_call(net, (theta, copy.deepcopy(buffers)), (x,))
    inner = -(s * logits.log_softmax(dim=1)).sum() / len(x)
    steps = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
    virtual = {name: w - lr * step for (name, w), step in zip(theta.items(), steps, strict=True)}
    q = functional_call(net, (virtual, buffers), (x,)).softmax(dim=1)
    rows, top = torch.arange(len(x), device=x.device), p.argmax(dim=1)
    align = -(p @ T)[rows, top].log().mean()
    mislead = -(1.000001 - q[rows, top]).log().mean()
    return weight * align + (1 - weight) * mislead


def textbook_hypergradient(
    net: nn.Module, x: Tensor, p: Tensor, T: Tensor, lr: float, weight: float
) -> tuple[Tensor, Tensor]:
    """The gradient of the outer loss in T by double backward, and the loss."""
    T = T.clone().requires_grad_()
    loss = outer_loss(net, x, p, T, lr, weight)
    return torch.autograd.grad(loss, T)[0], loss.detach()


def textbook_step(
    surrogate: nn.Module,
    victim: nn.Module,
    optimizer: torch.optim.Optimizer,
    x_augmented: Tensor,
    x: Tensor,
    T: Tensor,
    *,
    lr: float,
    lr_gamma: float,
    weight: float,
) -> Tensor:
    """One whole step, as the reference orders it: the victim is asked twice, and the real update runs its own
    forward and backward. Returns the new T; the surrogate has moved."""
    with torch.no_grad():
        p = victim(x).softmax(dim=1)
    gradient, _ = textbook_hypergradient(surrogate, x_augmented, p, T, lr, weight)
    T = torch.clamp(T - lr_gamma * gradient, min=1e-12)
    T = T / T.sum(dim=1, keepdim=True)

    with torch.no_grad():
        p = victim(x).softmax(dim=1)
    mixed = torch.clamp(p @ T, 1e-12, 1)
    loss = F.cross_entropy(surrogate(x_augmented), mixed / mixed.sum(dim=1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return T
