"""How long an answer takes, with the defence and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from emma_tune.outputs.export.formats import Answering
from emma_tune.outputs.export.module import DefendedModel

BATCHES = (1, 64)
ROUNDS = 15
ENOUGH = 2.0
"""Seconds after which no further round begins, once there are three."""


@dataclass(frozen=True)
class Latency:
    """Seconds that a batch takes: medians on this machine.

    Attributes:
        batch: images asked at once.
        undefended: the victim alone, in PyTorch.
        defended: with its defence, in PyTorch.
        files: with its defence, by file.
    """

    batch: int
    undefended: float
    defended: float
    files: Mapping[str, float]


@torch.no_grad()
def measure(model: DefendedModel, shape: tuple[int, int, int], files: Mapping[str, Answering]) -> list[Latency]:
    """Asks images of noise, all in turn, so that whatever else the machine does slows all of them.

    Args:
        model: the module.
        shape: (C, h, w) of an image.
        files: what was loaded, by file.
    """
    chance = torch.Generator().manual_seed(0)
    asked: dict[str, Callable[..., Any]] = {"undefended": model.clean, "defended": model, **files}
    rows = []
    for batch in BATCHES:
        images = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=chance)
        took = {name: median(times) for name, times in _times(asked, images).items()}
        rows.append(Latency(batch, took.pop("undefended"), took.pop("defended"), took))
    return rows


def _times(asked: Mapping[str, Callable[..., Any]], images: torch.Tensor) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in asked}
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number >= 3 and time.perf_counter() - began > ENOUGH:
            break
        for name, ask in asked.items():
            ask(images)  # so that none is slower for what the one before has left in the caches
            started = time.perf_counter()
            ask(images)
            times[name].append(time.perf_counter() - started)
    return times
