"""The memory of a GPU: how much a process may take, how much it took, and what it asked for when none was left."""

from __future__ import annotations

import gc
import re

import torch

from emma_tune.search.trial_shares import CONTEXT, in_gib

ALLOCATION_FAILURES = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Messages of CUDA's libraries, in a plain RuntimeError, when memory runs out."""


class CudaMeter:
    """The memory of one GPU as this process sees it: PyTorch's current device, in a Ray worker its own GPU."""

    def __init__(self) -> None:
        self._allowed: int | None = None

    @property
    def capacity(self) -> int:
        """Bytes of the GPU."""
        return int(torch.cuda.get_device_properties().total_memory)

    @property
    def peak(self) -> int:
        """Bytes that tensors and the allocator's cache took at most since `begin`."""
        return int(torch.cuda.max_memory_reserved())

    def limit(self, share: float) -> None:
        """Limit the process to a share of the GPU, less what it holds besides tensors; a whole GPU is no limit."""
        if share >= 1:
            self._allowed = None
            torch.cuda.set_per_process_memory_fraction(1.0)
            return
        self._allowed = allowed_bytes(share, self.capacity)
        torch.cuda.set_per_process_memory_fraction(self._allowed / self.capacity)

    def begin(self) -> None:
        """Begin another task: release what the last one left in the cache, and reset the peak."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def starved(self, error: Exception) -> str | None:
        """Return the sizes, for people, if an error of PyTorch or CUDA means that memory ran out; else None."""
        text = str(error)
        plainly = isinstance(error, torch.cuda.OutOfMemoryError)
        if not plainly and not (isinstance(error, RuntimeError) and any(f in text for f in ALLOCATION_FAILURES)):
            return None
        asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
        return sizes(asked.group(1) if asked else None, self._allowed, self.peak, self.capacity)


def allowed_bytes(share: float, capacity: int) -> int:
    """Return what a process may allocate of its share: all but its context, and at least half."""
    return int(max(share * capacity - CONTEXT, share * capacity / 2))


def sizes(asked: str | None, allowed: int | None, peak: int, capacity: int) -> str:
    """Describe what was asked for, allowed, and held at most; sizes in bytes, or as PyTorch writes them."""
    limit = "no limit" if allowed is None else f"{in_gib(allowed)} allowed"
    return f"asked for {asked or 'more'}, {limit}, {in_gib(peak)} held at most, {in_gib(capacity)} on the GPU"
