"""How the outer loss changes with the transition matrix, through one virtual step of the surrogate.

The inner loss is linear in its targets s, `L_in = −(1/B) Σ_ik s_ik ℓ_ik(θ)` with `ℓ = log softmax(f_θ(x))`, and
the virtual step is plain SGD, `θ' = θ − η ∇_θ L_in = θ + (η/B) Σ_ik s_ik ∇_θ ℓ_ik`. Hence, with
`v = ∇_θ' L_mis(θ')` and J the Jacobian of ℓ in θ,

    ∂L_mis/∂s_ik = (η/B) (J v)_ik,

one forward-mode product: no graph of a gradient is ever built (the implicit structure that MAML-like methods
differentiate twice for; Finn et al. 2017). What is left of the outer loss is a function of the K×K matrix alone.
"""

from __future__ import annotations

import torch
import torch.autograd.forward_ad as forward_mode
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from emma_tune.defenses.transition_matrix import perturb


def align_loss(posteriors: Tensor, T: Tensor) -> Tensor:
    """Stay useful: `L_align = −mean_i log (p_i T)_ŷi`, with `ŷ = argmax p`.

    Args:
        posteriors: p, (B, K).
        T: (K, K).
    """
    top = posteriors.argmax(dim=1, keepdim=True)
    return -(posteriors @ T).gather(1, top).log().mean()


def mislead_loss(logits: Tensor, posteriors: Tensor) -> Tensor:
    """Mislead: `L_mis = −mean_i log(1.000001 − softmax(f(x_i))_ŷi)`, with `ŷ = argmax p`.

    Args:
        logits: f(x), (B, K).
        posteriors: p, (B, K).
    """
    top = posteriors.argmax(dim=1, keepdim=True)
    return -(1.000001 - F.softmax(logits, dim=1).gather(1, top)).log().mean()


def hypergradient(
    surrogate: nn.Module, images: Tensor, posteriors: Tensor, T: Tensor, *, lr: float, weight: float
) -> tuple[Tensor, Tensor]:
    """`∇_T L_out`, with `L_out = λ L_align(T) + (1−λ) L_mis(θ'(T))`.

    Args:
        surrogate: f_θ in training mode; neither its weights nor its buffers change.
        images: augmented batch x, (B, C, H, W).
        posteriors: clean posteriors p of the un-augmented batch, (B, K).
        T: (K, K) row-stochastic.
        lr: η, the surrogate's current learning rate.
        weight: λ in [0, 1].

    Returns:
        The gradient (K, K), and the value of L_out.
    """
    weights = {name: parameter.detach() for name, parameter in surrogate.named_parameters()}

    def logits_at(at: dict[str, Tensor]) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in surrogate.named_buffers()}
        logits: Tensor = functional_call(surrogate, (at, buffers), (images,))
        return logits

    T = T.detach().requires_grad_()
    targets = perturb(posteriors, T)

    theta = {name: w.clone().requires_grad_() for name, w in weights.items()}
    inner_loss = F.cross_entropy(logits_at(theta), targets.detach())
    inner = torch.autograd.grad(inner_loss, list(theta.values()))
    virtual = {
        name: (w - lr * step).requires_grad_() for (name, w), step in zip(weights.items(), inner, strict=True)
    }
    mislead = mislead_loss(logits_at(virtual), posteriors)
    v = torch.autograd.grad(mislead, list(virtual.values()))

    with forward_mode.dual_level(), torch.no_grad():
        dual = {
            name: forward_mode.make_dual(w, tangent) for (name, w), tangent in zip(weights.items(), v, strict=True)
        }
        Jv = forward_mode.unpack_dual(F.log_softmax(logits_at(dual), dim=1)).tangent  # (B, K)

    align = align_loss(posteriors, T)
    through_targets = (lr / len(images)) * (targets * Jv).sum()  # its gradient in T is that of L_mis
    (gradient,) = torch.autograd.grad(weight * align + (1 - weight) * through_targets, T)
    return gradient, (weight * align + (1 - weight) * mislead).detach()
