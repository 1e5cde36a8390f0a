"""What a thief's gradient would be: Jacobians of a network's log-probabilities in its weights.

G, (K × weights), is one for each image: row k is the gradient of log softmax(f(x))_k. Batched by `torch.func`; the
network is in evaluation mode, so that an image's gradient does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap

from emma_tune.training.classifier import Classifier

Weights = dict[str, Tensor]

AT_ONCE = 1 << 27
"""Bytes of gradients that are held at a time."""


def gradient_cosines(classifier: Classifier, images: Tensor, posteriors: Tensor) -> Tensor:
    """Of each image and class the cosine of the angle between Gᵀe_k and Gᵀp.

    Rows of G are taken some at a time and only their inner products kept, so that memory grows neither with the
    number of classes nor with that of images.

    Args:
        classifier: in evaluation mode.
        images: (B, C, H, W) uint8.
        posteriors: p, (B, K).

    Returns:
        (B, K). Where a gradient vanishes the cosine counts as 0, a right angle.
    """
    weights, log_probabilities = _functional(classifier)
    pixels = classifier.normalized(images)
    classes = torch.eye(posteriors.shape[1]).to(posteriors)
    at_once = max(1, AT_ONCE // sum(weight.nbytes for weight in weights.values()))

    def of_one(image: Tensor, p: Tensor) -> Tensor:
        pull = vjp(lambda w: log_probabilities(w, image[None])[0], weights)[1]
        followed = _direction(pull(p)[0])
        angles: Tensor = vmap(lambda e_k: _inner(_direction(pull(e_k)[0]), followed), chunk_size=at_once)(classes)
        return angles

    cosines: Tensor = vmap(of_one, chunk_size=max(1, at_once // len(classes)))(pixels, posteriors)
    return cosines


def _direction(gradient: Weights) -> Weights:
    """A gradient divided by its length; zero where it is zero.

    A sure network has gradients so small that their squares vanish: scaled by their largest entry first.
    """
    largest = torch.stack([part.abs().amax() for part in gradient.values()]).amax()
    tiny = torch.finfo(largest.dtype).tiny
    scaled = {name: part / largest.clamp(min=tiny) for name, part in gradient.items()}
    length = _inner(scaled, scaled).sqrt().clamp(min=tiny)
    return {name: part / length for name, part in scaled.items()}


def _inner(one: Weights, other: Weights) -> Tensor:
    """The inner product of two directions in the space of weights, a scalar."""
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()


def gradient_sums(classifier: Classifier, images: Tensor) -> Tensor:
    """G1 of each image: by class, the sum over all weights of the gradient; one forward-mode pass.

    Args:
        classifier: in evaluation mode.
        images: (B, C, H, W) uint8.

    Returns:
        (B, K).
    """
    weights, log_probabilities = _functional(classifier)
    ones = {name: torch.ones_like(weight) for name, weight in weights.items()}
    pixels = classifier.normalized(images)
    sums: Tensor = jvp(lambda w: log_probabilities(w, pixels), (weights,), (ones,))[1]
    return sums


def _functional(classifier: Classifier) -> tuple[Weights, Callable[[Weights, Tensor], Tensor]]:
    """The weights, and log softmax(f(x)) (B, K) as a function of weights and normalised images."""
    assert not classifier.training, "batch statistics would make one image's gradient depend on the others"
    network = classifier.network  # called by itself: `vmap` cannot lay images out as the classifier does
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def log_probabilities(w: Weights, pixels: Tensor) -> Tensor:
        return F.log_softmax(functional_call(network, {**w, **buffers}, pixels), dim=1)

    return weights, log_probabilities
