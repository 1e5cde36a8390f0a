"""How long an answer takes, with the defense and without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from emma_tune.outputs.export.defended_model import DefendedModel
from emma_tune.outputs.export.formats import Answering

BATCHES = (1, 64)
ROUNDS = 15
TIME_LIMIT = 2.0  # seconds after which no further round begins, once there are three


@dataclass(frozen=True)
class Latency:
    """Seconds that a batch takes: medians on this machine.

    Attributes:
        batch: images queried at once.
        undefended: the victim alone, in PyTorch.
        defended: with its defense, in PyTorch.
        files: with its defense, by file.
    """

    batch: int
    undefended: float
    defended: float
    files: Mapping[str, float]


@torch.no_grad()
def time_batches(
    model: DefendedModel, shape: tuple[int, int, int], files: Mapping[str, Answering]
) -> list[Latency]:
    """Query module and files with noise of shape (C, h, w), in turn, so that other work slows all of them."""
    chance = torch.Generator().manual_seed(0)
    queried: dict[str, Callable[..., Any]] = {"undefended": model.clean, "defended": model, **files}
    rows = []
    for batch in BATCHES:
        images = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=chance)
        took = {name: median(times) for name, times in _times(queried, images).items()}
        rows.append(Latency(batch, took.pop("undefended"), took.pop("defended"), took))
    return rows


def _times(queried: Mapping[str, Callable[..., Any]], images: torch.Tensor) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in queried}
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number >= 3 and time.perf_counter() - began > TIME_LIMIT:
            break
        for name, answer in queried.items():
            answer(images)  # warm up: the one before may have left other things in the caches
            started = time.perf_counter()
            answer(images)
            times[name].append(time.perf_counter() - started)
    return times
