"""D-DAE (Chen et al., S&P 2023): a small network learns to restore clean posteriors from released ones.

It learns from guesses that the attacker has defended itself. Published are networks trained on the outputs of
twenty shadow classifiers, or (ModelGuard's D-DAE+) on Dirichlet draws around the true posteriors; here the draws
lie anywhere and around the answers. Layers and loss are those of ModelGuard's code, whose networks see a million
pairs 200 times, by SGD.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from emma_tune.attacks.guesses import Defended, Pairs
from emma_tune.attacks.lesson import Lesson, Loot

PAIRS, EPOCHS, BATCH = 50_000, 10, 512
"""Guesses, how often each is seen, and how many at a time."""

RATE = 1e-2
"""The largest learning rate, of a cycle that begins and ends near zero."""

WIDTHS, WIDEST = {10: (128, 64), 43: (512, 256), 100: (1024, 512)}, (2048, 1024)
"""Of the two hidden layers, by the largest number of classes."""

AROUND = 8.0
"""The concentration of guesses around answers."""


def learn(loot: Loot) -> Lesson:
    """Return targets restored answers, (N, K).

    `misfit` is the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2].
    """
    defended = Defended.of(loot)
    pairs = _pairs(defended)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(loot.seed)
        network = trained(pairs)
    with torch.no_grad():
        restored = F.softmax(network(defended.answers.float()), dim=1).to(loot.answers.dtype)
    return Lesson(restored[defended.place], metrics={"misfit": defended.misfit(restored)})


def _pairs(defended: Defended) -> Pairs:
    """Guess anywhere and around the answers, half of each."""
    rows = torch.from_numpy(defended.chance.integers(0, len(defended.answers), defended.affordable(PAIRS)))
    clean = defended.around(defended.answers[rows], 1, AROUND)
    clean[::2] = defended.anywhere(len(clean[::2]))
    return defended.pairs_of(clean, rows)


def restorer(K: int) -> nn.Module:
    """Build the network, K → … → K logits; wider for more classes, as published."""
    first, second = next((widths for most, widths in WIDTHS.items() if most >= K), WIDEST)
    layers: list[nn.Module] = []
    for inputs, outputs in ((K, first), (first, second), (second, K)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def trained(pairs: Pairs) -> nn.Module:
    """Train a network from what is released, (M, K), to clean posteriors, (M, K), by their mean L1 distance.

    It draws from PyTorch's global generator.
    """
    clean, released = (of.float() for of in pairs)
    network = restorer(clean.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    batches = -(-len(clean) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(clean)).tensor_split(batches):
            loss = (F.softmax(network(released[rows]), dim=1) - clean[rows]).abs().sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()
