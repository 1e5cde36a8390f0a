"""How much of a GPU's memory a process may take, how much it took, and what it wanted when there was none left."""

from __future__ import annotations

import gc
import re
from typing import Protocol

import torch

from emma_tune.search.trial_shares import CONTEXT, in_gib

ALLOCATION_FAILURES = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What CUDA's libraries say, in a plain RuntimeError, when memory is gone."""


class Meter(Protocol):
    """The memory of one GPU, as one process sees it."""

    @property
    def capacity(self) -> int:
        """Bytes of the GPU."""

    @property
    def peak(self) -> int:
        """Bytes that tensors and the allocator's cache took at most since `begin`."""

    def limit(self, share: float) -> None:
        """From now on the process gets so much of the GPU's memory; no limit from a whole GPU on."""

    def begin(self) -> None:
        """Another task: gives back what the last one left in the cache, and forgets its peak."""

    def starved(self, error: Exception) -> str | None:
        """The sizes, for people, if an error means that memory was out; None if it means something else."""


class CudaMeter:
    """PyTorch's caching allocator on the current device, which of a Ray worker is the GPU that it was given."""

    def __init__(self) -> None:
        self._allowed: int | None = None

    @property
    def capacity(self) -> int:
        """Bytes of the GPU."""
        return int(torch.cuda.get_device_properties().total_memory)

    @property
    def peak(self) -> int:
        """Bytes reserved at most since `begin`."""
        return int(torch.cuda.max_memory_reserved())

    def limit(self, share: float) -> None:
        """The share less what the process holds beside its tensors, so that the shares of a GPU fit into it."""
        if share >= 1:
            self._allowed = None
            torch.cuda.set_per_process_memory_fraction(1.0)
            return
        self._allowed = allowed_bytes(share, self.capacity)
        torch.cuda.set_per_process_memory_fraction(self._allowed / self.capacity)

    def begin(self) -> None:
        """Empties the cache."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def starved(self, error: Exception) -> str | None:
        """PyTorch's own error, or that of a library below it."""
        text = str(error)
        plainly = isinstance(error, torch.cuda.OutOfMemoryError)
        if not plainly and not (isinstance(error, RuntimeError) and any(f in text for f in ALLOCATION_FAILURES)):
            return None
        asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
        return sizes(asked.group(1) if asked else None, self._allowed, self.peak, self.capacity)


def allowed_bytes(share: float, capacity: int) -> int:
    """What a process may allocate of its share of a GPU: all but its context; of a tiny share at least half."""
    return int(max(share * capacity - CONTEXT, share * capacity / 2))


def sizes(asked: str | None, allowed: int | None, peak: int, capacity: int) -> str:
    """What was asked for, what was allowed, what was held at most, in bytes or as PyTorch writes them."""
    limit = "no limit" if allowed is None else f"{in_gib(allowed)} allowed"
    return f"asked for {asked or 'more'}, {limit}, {in_gib(peak)} held at most, {in_gib(capacity)} on the GPU"
