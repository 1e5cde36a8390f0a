"""A seed for every random choice, by name: runs are reproducible, and interruptions do not change them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: object) -> int:
    """Derive a seed for a purpose (`"victim", "order", epoch`): 63 bits of SHA-256 of the study's seed and it."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """Return a CPU generator with `derive_seed(seed, *names)`."""
    import torch  # here: who only derives seeds does without

    return torch.Generator().manual_seed(derive_seed(seed, *names))
