"""The learning rate of an epoch."""

from __future__ import annotations

import math


def cosine_lr(epoch: int, epochs: int, lr: float) -> float:
    """`η_min + (lr − η_min)(1 + cos(πe/E))/2` with `η_min = lr·1e-3` (Loshchilov & Hutter 2017).

    Args:
        epoch: e, from 0.
        epochs: E.
        lr: rate of epoch 0.
    """
    lowest = lr * 1e-3
    return lowest + (lr - lowest) * (1 + math.cos(math.pi * epoch / epochs)) / 2
