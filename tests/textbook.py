"""EMMA as FACTS and paper write it down, plainly: double backward, SGD by hand, an image at a time, nothing shared
with the package but first weights and the seeds of the order. Tests and benchmarks compare the package with it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.stages import MatrixSettings
from emma_tune.training.classifier import new_classifier
from emma_tune.training.seeds import generator
from emma_tune.training.settings import Training

# --- formulas ---------------------------------------------------------------------------------------------


def cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    return -(targets * (logits - torch.logsumexp(logits, dim=1, keepdim=True))).sum() / len(logits)


def normalized(rows: Tensor) -> Tensor:
    return rows / rows.sum(dim=1, keepdim=True)


def released(p: Tensor, T: Tensor) -> Tensor:
    return normalized(torch.clamp(p @ T, 1e-12, 1))


def cosine(training: Training, epoch: int) -> float:
    lowest = training.lr * 1e-3
    return lowest + (training.lr - lowest) * (1 + math.cos(math.pi * epoch / training.epochs)) / 2


def outer_loss(
    net: nn.Module,
    x: Tensor,
    p: Tensor,
    T: Tensor,
    lr: float,
    weight: float,
    targets: Callable[[Tensor, Tensor], Tensor] = released,
) -> Tensor:
    """Steps 1 to 3 of the method, differentiable in T; the network stays as it is, and learns from `targets`."""
    theta = {name: w.detach().clone().requires_grad_() for name, w in net.named_parameters()}
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    logits = functional_call(net, (theta, copy.deepcopy(buffers)), (x,))
    inner = cross_entropy(targets(p, T), logits)
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
    """One whole step, as the reference orders it: the victim answers twice, and the real update runs its own
    forward and backward. Returns the new T; the surrogate has moved."""
    with torch.no_grad():
        p = victim(x).softmax(dim=1)
    gradient, _ = textbook_hypergradient(surrogate, x_augmented, p, T, lr, weight)
    T = normalized(torch.clamp(T - lr_gamma * gradient, min=1e-12))

    with torch.no_grad():
        p = victim(x).softmax(dim=1)
    loss = F.cross_entropy(surrogate(x_augmented), released(p, T))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return T


# --- trainings --------------------------------------------------------------------------------------------


class Network(nn.Module):
    """A network with the normalization of the images that it learns from."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x / 255 - self.mean) / self.std)

    @torch.no_grad()
    def answer(self, images: ImageSet) -> Tensor:
        """Posteriors in evaluation mode, one image after the other."""
        self.eval()
        answers = torch.cat([self(x[None]).softmax(dim=1) for x in as_floats(images)])
        self.train()
        return answers


def as_floats(images: ImageSet) -> Tensor:
    return torch.from_numpy(images.images).to(torch.float64)


def fresh(images: ImageSet, role: str, *, classes: int, seed: int) -> Network:
    """The first weights are the package's; the statistics are those of the images to learn from."""
    classifier = new_classifier("resnet8", Images(images), classes=classes, seed=seed, role=role)
    channels = (as_floats(images) / 255).transpose(0, 1).flatten(1)  # (C, N·H·W)
    mean, std = (of.view(1, -1, 1, 1) for of in (channels.mean(dim=1), channels.std(dim=1, correction=1)))
    return Network(classifier.network.to(memory_format=torch.contiguous_format), mean, std).train()


def batches(N: int, training: Training, role: str, epoch: int, *, seed: int) -> list[Tensor]:
    """Indices; a lone last image joins the batch before."""
    order = torch.randperm(N, generator=generator(seed, role, "order", epoch))
    found, start = [], 0
    while start < N:
        stop = start + training.batch_size
        if stop + 1 >= N:
            stop = N
        found.append(order[start:stop])
        start = stop
    return found


def descend(
    network: Network, velocity: dict[str, Tensor], x: Tensor, targets: Tensor, training: Training, lr: float
) -> float:
    """One step of SGD, v = m v + (g + wd w), w = w − lr v, whose first v is g + wd w. Returns the loss before."""
    weights = dict(network.named_parameters())
    loss = cross_entropy(targets, network(x))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    with torch.no_grad():
        for (name, w), gradient in zip(weights.items(), gradients, strict=True):
            step = gradient + training.weight_decay * w
            velocity[name] = training.momentum * velocity[name] + step if name in velocity else step
            w.copy_(w - lr * velocity[name])
    return float(loss.detach())


@dataclass
class Learned:
    """A training epoch by epoch: mean losses a sample, and the network after each."""

    losses: list[float]
    after: list[Network]


def learn(
    images: ImageSet, targets: Tensor, training: Training, role: str, *, epochs: int | None = None, seed: int
) -> Learned:
    network = fresh(images, role, classes=targets.shape[1], seed=seed)
    velocity, learned, pixels = {}, Learned([], []), as_floats(images)
    for epoch in range(training.epochs if epochs is None else epochs):
        total, lr = 0.0, cosine(training, epoch)
        for chunk in batches(len(pixels), training, role, epoch, seed=seed):
            total += len(chunk) * descend(network, velocity, pixels[chunk], targets[chunk], training, lr)
        learned.losses.append(total / len(pixels))
        learned.after.append(copy.deepcopy(network))
    return learned


# --- the matrix -------------------------------------------------------------------------------------------


@dataclass
class Epoch:
    """What an epoch of the matrix left."""

    T: Tensor
    surrogate: Network
    outer: float
    change: float
    trace: float
    clamped: bool


def matrix_epochs(surrogate: Network, images: ImageSet, p: Tensor, config: MatrixSettings) -> list[Epoch]:
    """Steps 1 to 5 up to the end of the series, without a stopping test; the momentum starts at zero again."""
    network, velocity, training = copy.deepcopy(surrogate), {}, config.training
    pixels, T, epochs = as_floats(images), torch.eye(p.shape[1], dtype=p.dtype), []
    for epoch in range(config.st_epoch, training.epochs):
        before, outer, clamped, lr = T, 0.0, False, cosine(training, epoch)
        for chunk in batches(len(pixels), training, "matrix", epoch, seed=config.seed):
            x, answers = pixels[chunk], p[chunk]
            slope, loss = textbook_hypergradient(network, x, answers, T, lr, config.lambda_)
            moved = T - config.lr_gamma * slope
            clamped = clamped or bool((moved < 0).any())
            T = normalized(torch.clamp(moved, min=1e-12))
            descend(network, velocity, x, released(answers, T), training, lr)
            outer += len(chunk) * float(loss)
        change, trace = float((T - before).abs().mean()), float(T.trace())
        epochs.append(Epoch(T, copy.deepcopy(network), outer / len(pixels), change, trace, clamped))
    return epochs


def epochs_run(epochs: list[Epoch], threshold: float, patience: int) -> int:
    """Both stopping tests, at the end of every epoch; T began as the identity, of trace K."""
    lowest, missed = float(len(epochs[0].T)), 0
    for done, epoch in enumerate(epochs, start=1):
        if epoch.trace < lowest:
            lowest = epoch.trace
        else:
            missed += 1
        if epoch.change < threshold or missed == patience:
            return done
    return len(epochs)
