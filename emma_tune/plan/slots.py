"""Slots: how many tasks can run at once."""

from __future__ import annotations

from collections.abc import Collection

from emma_tune.study import AUTO

MOST = 16
"""Most tasks on a GPU: with more, they wait for each other's kernels rather than for memory."""


def slots_of(shares: Collection[tuple[float, float | str]], cpus: float, gpus: float) -> int:
    """Count how many tasks of the smallest share run at once, at least one.

    Args:
        shares: CPUs and GPUs of a task of each stage; `auto` for a share of a GPU that is still to be measured.
        cpus: that there are.
        gpus: that there are.
    """
    slots = cpus / min(cpu for cpu, _ in shares)
    least = [1 / MOST if gpu == AUTO else float(gpu) for _, gpu in shares]
    if all(least):
        slots = min(slots, gpus / min(least))
    return max(1, int(slots))
