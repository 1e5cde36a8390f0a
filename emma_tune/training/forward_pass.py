"""A forward pass of a network whose graph serves gradients and a tangent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from emma_tune.training.classifier import forward
from emma_tune.training.settings import Precision
from emma_tune.training.tangent import tangent_of

AGREEMENT: Mapping[Precision, float] = {"fp32": 1e-3, "bf16": 0.03}
"""How far a tangent and the gradients may be apart by rounding, relatively."""


class ForwardPass:
    """The logits of a batch, (B, K), with the graph to the weights.

    Updates the network's buffers as any training pass does; its tangent and passes elsewhere leave them alone.

    Args:
        network: of images (B, …) to logits (B, K), with modules and functions of PyTorch.
        images: a batch (B, …).
        precision: of the passes; `elsewhere` has the same.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, precision: Precision = "fp32") -> None:
        self.network = network
        self.images = images
        self._precision = precision
        self._rng = _rng_state(images.device)
        self._buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        self.logits = self._forward(network)

    def elsewhere(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Compute the logits (B, K) of the same batch at other weights, by the names of the network's parameters.

        Those left out stay as they are.
        """
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        return self._forward(lambda batch: functional_call(self.network, (dict(weights), buffers), (batch,)))

    def tangent(self, direction: Mapping[str, Tensor]) -> Tensor:
        """Compute the change `J v` of the log-probabilities, (B, K), in a direction of the weights.

        The direction is v by the names of the network's parameters; zero for those left out.

        Raises:
            NotImplementedError: if a function can be differentiated neither twice nor in forward mode.
        """
        leaves: dict[Tensor, Tensor] = {
            w: direction[name] for name, w in self.network.named_parameters() if name in direction
        }
        try:
            tangent = tangent_of(self.logits, leaves)
        except NotImplementedError:
            tangent = self._by_forward_mode(direction, leaves)
        probabilities = self.logits.detach().softmax(dim=1)
        return tangent - (probabilities * tangent).sum(dim=1, keepdim=True)

    def _by_forward_mode(self, direction: Mapping[str, Tensor], leaves: Mapping[Tensor, Tensor]) -> Tensor:
        """Compute the tangent of the logits, (B, K), by another pass.

        PyTorch's forward mode takes operators that it knows nothing of for constants; hence `⟨u, J v⟩ = ⟨Jᵀ u, v⟩`
        is tested for one u.
        """
        with torch.no_grad(), _replayed(self._rng), forward_mode.dual_level():
            weights = dict(self.network.named_parameters())
            dual = {name: forward_mode.make_dual(weights[name].detach(), v) for name, v in direction.items()}
            tangent: Tensor | None = forward_mode.unpack_dual(self.elsewhere(dual)).tangent
        u = self.logits.detach()
        back = torch.autograd.grad(self.logits, list(leaves), u, retain_graph=True, materialize_grads=True)
        expected = torch.stack([(g * v).sum() for g, v in zip(back, leaves.values(), strict=True)]).sum()
        limit = AGREEMENT[self._precision]
        if tangent is None or ((u * tangent).sum() - expected).abs() > limit * u.norm() * tangent.norm():
            raise NotImplementedError("expected functions with a forward mode, found one without")
        return tangent

    def _forward(self, network: Callable[[Tensor], Tensor]) -> Tensor:
        # the fused attention kernels have no second derivative, and draw dropout in another order
        with sdpa_kernel(SDPBackend.MATH):
            return forward(network, self.images, self._precision)


def _rng_state(device: torch.device) -> tuple[Tensor, torch.device, Tensor | None]:
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), device, on_device


@contextmanager
def _replayed(state: tuple[Tensor, torch.device, Tensor | None]) -> Iterator[None]:
    """Replay random numbers (dropout, for one) from a state, without changing the generators outside."""
    on_cpu, device, on_device = state
    with torch.random.fork_rng(devices=[device] if on_device is not None else []):
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)
        yield
