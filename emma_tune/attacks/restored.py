"""D-DAE (Chen et al., S&P 2023): a small network learns to restore clean posteriors from released ones.

It learns from guesses that the attacker has defended itself. Published are networks trained on the outputs of
twenty shadow classifiers, or (ModelGuard's D-DAE+) on Dirichlet draws around the true posteriors, 200 epochs of a
million pairs. Here half of the draws lie anywhere; the others around the answers, and then around what the network
makes of them. Widths and loss are those of ModelGuard's code. Its last normalization is not there: instead, the
network is given the linear regression of the pairs, and learns what to multiply it by.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.attacks.guesses import LEAST, Defended
from emma_tune.attacks.lesson import Lesson, Loot

PAIRS, EPOCHS, BATCH = 50_000, 5, 512
"""Guesses of each phase, how often each is seen, and how many at a time."""

RATE = 1e-2
"""The largest learning rate, of a cycle in each phase that begins and ends near zero."""

WIDTHS, WIDEST = {10: (128, 64), 43: (512, 256), 100: (1024, 512)}, (2048, 1024)
"""Of the two hidden layers, by the largest number of classes."""

PHASES = (8.0, 2.0)
"""The concentrations of guesses: around answers, then around restored answers."""


def learn(loot: Loot) -> Lesson:
    """Return targets restored answers, (N, K).

    `misfit` is the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2].
    """
    defended = Defended.of(loot)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(loot.seed)
        restored = _restored(defended)
    return Lesson(restored[defended.place], metrics={"misfit": defended.misfit(restored)})


def _restored(defended: Defended) -> Tensor:
    """Restore all answers, (D, K), by a network that learns in phases; draws from PyTorch's global generator."""
    restored, network = defended.answers, None
    for concentration in PHASES:
        inputs, clean = _pairs(defended, restored, concentration)
        network = network or Restorer(inputs, clean)
        train(network, inputs, clean)
        with torch.no_grad():
            inputs = _inputs(defended.answers, defended.guidance)
            logits = torch.cat([network(batch) for batch in inputs.split(PAIRS)])
        restored = F.softmax(logits.to(defended.answers.dtype), dim=1)
    return restored


def _pairs(defended: Defended, centers: Tensor, concentration: float) -> tuple[Tensor, Tensor]:
    """Guess anywhere and around the centers, one of each answer, half of each; return inputs and outputs."""
    rows = torch.from_numpy(defended.chance.integers(0, len(centers), defended.affordable(PAIRS)))
    guesses = defended.around(centers[rows], 1, concentration)
    guesses[::2] = defended.anywhere(len(guesses[::2]))
    clean, released = defended.pairs_of(guesses, rows)
    return _inputs(released, None if defended.guidance is None else defended.guidance[rows]), clean.float()


def _inputs(released: Tensor, guidance: Tensor | None) -> Tensor:
    """Return what a network sees: released posteriors, (M, K), and what is known of their queries, (M, G)."""
    return (released if guidance is None else torch.cat([released, guidance], dim=1)).float()


class Restorer(nn.Module):
    """A network from inputs, (M, I), to logits, (M, K): a linear estimate times what two hidden layers make of it.

    Args:
        inputs: of pairs, (M, I).
        clean: posteriors, (M, K), which the linear estimate of these inputs is nearest to by least squares.
    """

    def __init__(self, inputs: Tensor, clean: Tensor) -> None:
        super().__init__()
        I, K = inputs.shape[1], clean.shape[1]  # noqa: E741
        self.estimate = nn.Linear(I, K)
        self.least = LEAST / K
        with torch.no_grad():
            solution = _least_squares(inputs.double(), clean.double())
            self.estimate.weight.copy_(solution[:-1].T)
            self.estimate.bias.copy_(solution[-1])
        widths = next((widths for most, widths in WIDTHS.items() if most >= K), WIDEST)
        layers: list[nn.Module] = []
        for before, width in pairwise((I + K, *widths)):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)]
        last = nn.Linear(widths[-1], K)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, (M, K)."""
        estimate = self.estimate(inputs).clamp(min=self.least).log()
        logits: Tensor = estimate + self.layers(torch.cat([inputs, estimate], dim=1))
        return logits


def _least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Solve for weights and intercept, (I + 1, K); the smallest of them where many are as good."""
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    inverse: Tensor = torch.linalg.pinv(inputs.T @ inputs, rtol=1e-6, hermitian=True)
    return inverse @ (inputs.T @ outputs)


def train(network: nn.Module, inputs: Tensor, clean: Tensor) -> None:
    """Train a network, for `EPOCHS`, on the mean L1 distance of its softmax from clean posteriors, (M, K).

    It draws from PyTorch's global generator.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    batches = -(-len(clean) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(clean)).tensor_split(batches):
            loss = (F.softmax(network(inputs[rows]), dim=1) - clean[rows]).abs().sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
