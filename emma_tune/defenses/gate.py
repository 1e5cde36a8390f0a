"""The gate: a defense acts where the victim is not sure of its answer, and p is released elsewhere.

A classifier is sure of its own users' images, and not of most images of a stranger's pool. Its confidence is
max p; at a temperature t it is the largest of p^(1/t), renormalized: of the softmax of logits divided by t, which
p alone determines (ODIN, Liang et al. 2018). As t grows, that tells a digits victim's images better from letters
(area under the ROC curve 0.970 for t = 1, 0.979 for 2, 0.983 for 4, 0.985 for 10). The margin of the two largest
classes does it worse (0.949). An energy score does it better (0.988), but needs logits, which answers do not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.around import GATE, TEMPERATURE, around_params
from emma_tune.defenses.objective import Objective

LEAST = 1e-12
"""The smallest probability whose logarithm is taken."""


def confidence(posteriors: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute `max_k p_k^(1/t) / Σ_j p_j^(1/t)`, (N,), in [1/K, 1].

    Args:
        posteriors: p, (N, K).
        temperature: t > 0.
    """
    if temperature != 1:
        posteriors = F.softmax(posteriors.clamp(min=LEAST).log() / temperature, dim=1)
    return posteriors.max(dim=1).values


def has_gate(params: Mapping[str, float | str]) -> bool:
    """Tell whether the parameters of a point have a gate that is not always open."""
    return GATE.name in around_params(params)


def acts(posteriors: Tensor, params: Mapping[str, float | str]) -> Tensor:
    """Tell where a defense acts, (N,) bool: where the confidence is below the gate; everywhere without one.

    Args:
        posteriors: p, (N, K).
        params: of the point, its gate among them.
    """
    if not has_gate(params):
        return torch.ones_like(posteriors[:, 0], dtype=torch.bool)
    given = around_params(params)
    return confidence(posteriors, float(given.get(TEMPERATURE.name, 1))) < float(given[GATE.name])


def gated(objective: Objective, params: Mapping[str, float | str]) -> Objective:
    """Let a matrix be learned behind a gate: answers and losses are those of `p T` where it acts, else of p.

    Losses are means over rows. So L_align is that of T over the rows where it acts, and of the identity over the
    others, each weighted by its share.

    Args:
        objective: without a gate.
        params: of the point.
    """
    if not has_gate(params):
        return objective

    def release(posteriors: Tensor, T: Tensor) -> Tensor:
        return torch.where(acts(posteriors, params)[:, None], objective.release(posteriors, T), posteriors)

    def align(posteriors: Tensor, T: Tensor) -> Tensor:
        acting = acts(posteriors, params)
        identity = torch.eye(len(T), dtype=T.dtype, device=T.device)
        parts = ((posteriors[acting], T), (posteriors[~acting], identity))
        losses = [len(rows) / len(posteriors) * objective.align(rows, of) for rows, of in parts if len(rows)]
        return torch.stack(losses).sum()

    return objective._replace(release=release, align=align)
