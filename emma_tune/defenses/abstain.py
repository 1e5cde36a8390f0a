"""Abstaining: an answer that says nothing. Behind a gate only those that the victim is not sure of are withheld.

So of this defense the measure `acts_on` is the share of answers that are withheld. An attacker cannot undo it,
since the answer does not depend on p. With unbalanced classes the victim's class prior would say as little; which
answer misleads most is what a learned matrix of rank 1 finds.
"""

from __future__ import annotations

import torch
from torch import Tensor


def release(posteriors: Tensor) -> Tensor:
    """Release the uniform distribution, (N, K), whatever p is."""
    return torch.full_like(posteriors, 1 / posteriors.shape[1])
