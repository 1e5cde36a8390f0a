"""MAD, maximizing angular deviation (Orekondy et al. 2020): bend the gradient that the attacker will follow.

With G the Jacobian of a surrogate's log-probabilities in its weights (K × weights) an attacker who learns from an
answer y follows Gᵀy. Of these gradients only the angles are needed.

By default G is that of the formula: all weights of the trained surrogate. The authors' code, and ModelGuard's
(Tang et al. 2024), take the weights of the last layer alone (`layers: last`), of a surrogate that has learned
nothing (`surrogate: untrained`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.simplex import step_within


def farthest_class(cosines: Tensor) -> Tensor:
    """Find `y* = argmax over e_k of ‖Gᵀe_k/‖·‖ − Gᵀp/‖·‖‖²`, which is the class of the smallest cosine.

    Args:
        cosines: of the angles between Gᵀe_k and Gᵀp, (N, K).

    Returns:
        One-hot, (N, K); the first of equal classes.
    """
    return F.one_hot(cosines.argmin(dim=1), cosines.shape[1]).to(cosines.dtype)


def release(posteriors: Tensor, *, epsilon: float, guidance: Tensor) -> Tensor:
    """Release `(1−α)p + αy*` with α as large as ‖p' − p‖₁ ≤ ε allows, (N, K).

    Args:
        posteriors: p, (N, K).
        epsilon: in [0, 2].
        guidance: y*, (N, K) one-hot.
    """
    return step_within(posteriors, guidance, epsilon)
