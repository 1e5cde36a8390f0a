"""The gradient of the outer loss in the transition matrix, through one virtual step of the surrogate.

The inner loss is linear in its targets s, `L_in = −(1/B) Σ_ik s_ik ℓ_ik(θ)` with `ℓ = log softmax(f_θ(x))`, and
the virtual step is plain SGD, `θ' = θ − η ∇_θ L_in = θ + (η/B) Σ_ik s_ik ∇_θ ℓ_ik`. Hence, with
`v = ∇_θ' L_mis(θ')` and J the Jacobian of ℓ in θ,

    ∂L_mis/∂s_ik = (η/B) (J v)_ik,

one forward-mode product, without the graph of a gradient through which MAML-like methods differentiate twice
(Finn et al. 2017). The rest of the outer loss is a function of the K×K matrix alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.objective import Objective
from emma_tune.training.forward_pass import ForwardPass


def hypergradient(
    forward: ForwardPass, posteriors: Tensor, T: Tensor, *, lr: float, objective: Objective
) -> tuple[Tensor, Tensor]:
    """Compute `∇_T L_out`, with `L_out = λ L_align(T) + (1−λ) L_mis(θ'(T))`.

    Costs one backward through the given pass, one forward and backward at θ', and one tangent pass.

    Args:
        forward: f_θ on the augmented batch; its graph is kept for the real update.
        posteriors: clean posteriors p of the un-augmented batch, (B, K).
        T: (K, K) row-stochastic.
        lr: η, the surrogate's current learning rate.
        objective: of the defense: release, λ, L_align, L_mis.

    Returns:
        The gradient (K, K), and the value of L_out.
    """
    T = T.detach().requires_grad_()
    targets = objective.release(posteriors, T)
    v, mislead = _virtual_step(forward, posteriors, targets.detach(), lr, objective)
    Jv = forward.tangent(v)

    weight, align = objective.weight, objective.align(posteriors, T)
    through_targets = (lr / len(Jv)) * (targets * Jv).sum()  # its gradient in T is that of L_mis
    (gradient,) = torch.autograd.grad(weight * align + (1 - weight) * through_targets, T)
    return gradient, (weight * align + (1 - weight) * mislead).detach()


def _virtual_step(
    forward: ForwardPass, posteriors: Tensor, targets: Tensor, lr: float, objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute `v = ∇_θ' L_mis(θ')` by the names of the weights, and `L_mis(θ')`, at `θ' = θ − η ∇_θ L_in`."""
    theta = {name: w for name, w in forward.network.named_parameters() if w.requires_grad}
    inner_loss = F.cross_entropy(forward.logits, targets)
    inner = torch.autograd.grad(inner_loss, list(theta.values()), retain_graph=True, materialize_grads=True)
    # in the memory layout of the weights, which that of their gradients is not; rounded twice, as in the formula:
    # an untrained network magnifies another rounding a thousandfold
    moved = [torch.empty_like(w).copy_(step) for w, step in zip(theta.values(), inner, strict=True)]
    del inner
    with torch.no_grad():
        torch._foreach_mul_(moved, -lr)
        torch._foreach_add_(moved, list(theta.values()))
    virtual = {name: w.requires_grad_() for name, w in zip(theta, moved, strict=True)}
    mislead = objective.mislead(forward.elsewhere(virtual), posteriors)
    v = torch.autograd.grad(mislead, list(virtual.values()), materialize_grads=True)
    return dict(zip(virtual, v, strict=True)), mislead.detach()
