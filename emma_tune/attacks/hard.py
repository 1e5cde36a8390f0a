"""The hard-label thief: keeps only the top class of each answer (knows nothing of the defence)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def targets(responses: Tensor) -> Tensor:
    """One-hot `argmax p'`, (N, K); the first of equal classes."""
    return F.one_hot(responses.argmax(dim=1), responses.shape[1]).to(responses.dtype)
