"""A forward pass of a network whose graph serves gradients and a tangent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from emma_tune.training.classifier import forward
from emma_tune.training.settings import Precision
from emma_tune.training.tangent import tangent_of


class ForwardPass:
    """The forward pass of a training step: it updates the network's buffers once.

    Args:
        network: images to logits, in training mode; any `nn.Module`.
        images: (B, …), what the network takes.
        precision: of the convolutions and matrix products.

    Attributes:
        logits: (B, K), in float32 at least, with the graph to the network's weights.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, precision: Precision = "fp32") -> None:
        self.network = network
        self.images = images
        self._precision = precision
        self._buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        self.logits = self._forward(network)

    def elsewhere(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Compute the logits (B, K) of the same batch at other weights, by the names of the network's parameters.

        The network and its buffers do not change.
        """
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        return self._forward(lambda images: functional_call(self.network, (dict(weights), buffers), (images,)))

    def tangent(self, direction: Mapping[str, Tensor]) -> Tensor:
        """Compute `J v`, (B, K), with J the Jacobian of the log-probabilities `log softmax(f_θ(x))` in θ.

        The direction is v by the names of the network's parameters; zero for those left out.
        """
        leaves: dict[Tensor, Tensor] = {
            w: direction[name] for name, w in self.network.named_parameters() if name in direction
        }
        tangent = tangent_of(self.logits, leaves)
        probabilities = self.logits.detach().softmax(dim=1)
        return tangent - (probabilities * tangent).sum(dim=1, keepdim=True)

    def _forward(self, network: Callable[[Tensor], Tensor]) -> Tensor:
        # the fused attention kernels have no second derivative, and draw dropout in another order
        with sdpa_kernel(SDPBackend.MATH):
            return forward(network, self.images, self._precision)
