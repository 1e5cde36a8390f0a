"""How long an answer takes, with the defense and without it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch

from emma_tune.outputs.export.formats import Answering

BATCHES = (1, 64)
UNDEFENDED, DEFENDED = "undefended", "defended"
ROUNDS = 15
TIME_LIMIT = 2.0  # seconds after which no further round begins, once there are three


@dataclass(frozen=True)
class Latency:
    """Seconds that a batch takes: medians on this machine.

    Attributes:
        batch: rows queried at once.
        undefended: the victim alone; None if only its answers are known.
        defended: with its defense, or the defense alone: in PyTorch, of a victim in ONNX as the file.
        files: the same by file, where there is a module in PyTorch.
    """

    batch: int
    undefended: float | None
    defended: float
    files: Mapping[str, float]


@torch.no_grad()
def time_batches(
    victim: Answering | None, defended: Answering, files: Mapping[str, Answering], example: torch.Tensor
) -> list[Latency]:
    """Query module and files with noise like an example, in turn, so that other work slows all of them."""
    chance = torch.Generator().manual_seed(0)
    queried = {**({UNDEFENDED: victim} if victim else {}), DEFENDED: defended, **files}
    rows = []
    for batch in BATCHES:
        noise = torch.randint(1, 256, (batch, *example.shape[1:]), dtype=torch.uint8, generator=chance)
        if example.is_floating_point():
            noise = noise / noise.sum(dim=1, keepdim=True)
        took = {name: median(times) for name, times in _times(queried, noise).items()}
        rows.append(Latency(batch, took.pop(UNDEFENDED, None), took.pop(DEFENDED), took))
    return rows


def _times(queried: Mapping[str, Answering], images: torch.Tensor) -> dict[str, list[float]]:
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
