"""Every random choice comes from a seed with a name, so that runs repeat and interruptions leave no trace."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *names: object) -> int:
    """A seed for one purpose: the first 63 bits of SHA-256 over the study's seed and the names.

    Args:
        seed: the seed of the study.
        names: what it is for, e.g. `"victim", "order", epoch`.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator with `derive_seed(seed, *names)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
