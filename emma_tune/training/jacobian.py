"""The gradients of an attacker's training: Jacobians of a network's log-probabilities in its weights.

G, (K × weights), of an image: row k is the gradient of log softmax(f(x))_k. Batched by `torch.func`; the network
is in evaluation mode, so that an image's gradient does not depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap

from emma_tune.training.classifier import Classifier

NamedTensors = dict[str, Tensor]
"""Weights, or a gradient, by the names of the parameters."""

GRADIENT_BYTES = 1 << 27
"""Bytes of gradients in memory at a time."""


def gradient_cosines(
    classifier: Classifier, images: Tensor, posteriors: Tensor, *, last_layer: bool = False
) -> Tensor:
    """Compute the cosine of the angle between Gᵀe_k and Gᵀp for each image and class.

    Only a few rows of G are in memory at a time, whatever the number of classes and images.

    Args:
        classifier: in evaluation mode.
        images: (B, C, H, W) uint8.
        posteriors: p, (B, K).
        last_layer: whether only the weights of the last layer count, without its biases.

    Returns:
        (B, K); 0, a right angle, where a gradient vanishes.
    """
    weights, log_probabilities = _functional(classifier)
    if last_layer:
        last = [name for name, weight in weights.items() if weight.dim() > 1][-1]
        weights = {last: weights[last]}
    pixels = classifier.normalized(images)
    classes = torch.eye(posteriors.shape[1]).to(posteriors)
    at_once = max(1, GRADIENT_BYTES // sum(weight.nbytes for weight in weights.values()))

    def of_one(image: Tensor, p: Tensor) -> Tensor:
        pull = vjp(lambda w: log_probabilities(w, image[None])[0], weights)[1]
        followed = _direction(pull(p)[0])
        angles: Tensor = vmap(lambda e_k: _inner(_direction(pull(e_k)[0]), followed), chunk_size=at_once)(classes)
        return angles

    cosines: Tensor = vmap(of_one, chunk_size=max(1, at_once // len(classes)))(pixels, posteriors)
    return cosines


def _direction(gradient: NamedTensors) -> NamedTensors:
    """Divide a gradient by its length; zero stays zero.

    It is scaled by its largest entry first: the squares of a confident network's gradients would underflow.
    """
    largest = torch.stack([part.abs().amax() for part in gradient.values()]).amax()
    tiny = torch.finfo(largest.dtype).tiny
    scaled = {name: part / largest.clamp(min=tiny) for name, part in gradient.items()}
    length = _inner(scaled, scaled).sqrt().clamp(min=tiny)
    return {name: part / length for name, part in scaled.items()}


def _inner(one: NamedTensors, other: NamedTensors) -> Tensor:
    """Compute the inner product of two directions in the space of weights, a scalar."""
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()


def gradient_sums(classifier: Classifier, images: Tensor) -> Tensor:
    """Compute G1 (B, K): by image and class, the sum of the gradient over all weights; one forward-mode pass."""
    weights, log_probabilities = _functional(classifier)
    ones = {name: torch.ones_like(weight) for name, weight in weights.items()}
    pixels = classifier.normalized(images)
    sums: Tensor = jvp(lambda w: log_probabilities(w, pixels), (weights,), (ones,))[1]
    return sums


def _functional(classifier: Classifier) -> tuple[NamedTensors, Callable[[NamedTensors, Tensor], Tensor]]:
    """Return the weights, and log softmax(f(x)) (B, K) as a function of some of them and of normalized images."""
    assert not classifier.training, "batch statistics would make one image's gradient depend on the others"
    network = classifier.network  # not the classifier, whose memory format `vmap` does not support
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def log_probabilities(w: NamedTensors, pixels: Tensor) -> Tensor:
        return F.log_softmax(functional_call(network, {**weights, **w, **buffers}, pixels), dim=1)

    return weights, log_probabilities
