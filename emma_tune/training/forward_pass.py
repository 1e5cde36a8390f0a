"""A recorded forward pass of a network, reused for gradients and for tangents.

A tangent pass computes `J v`, the change of the outputs when the weights move along v (forward-mode
differentiation; Griewank & Walther 2008, chapter 3). PyTorch's own recomputes the values, and passes over memory a
dozen times for the tangent of batch norm. Here convolutions and linear layers take their values from the recorded
pass, so that a layer costs the two products of its tangent, `conv(ẋ, w) + conv(x, ẇ)`, and batch norm uses its
backward kernel: the Jacobian of x ↦ x̂ is symmetric. Everything else is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_mode
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from emma_tune.training.classifier import forward
from emma_tune.training.settings import Precision

LINEAR = frozenset({torch.conv1d, torch.conv2d, torch.conv3d, F.linear})
"""Functions (x, weight, bias, …), linear in x and in (weight, bias), whose results are worth their memory."""


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
        self._rng = _rng_state(images.device)
        self._buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        self._products = _Recording()
        with self._products:
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
        with torch.no_grad(), _replayed(self._rng), forward_mode.dual_level(), _Reusing(self._products):
            dual = {
                name: forward_mode.make_dual(weight.detach(), direction[name])
                for name, weight in self.network.named_parameters()
                if name in direction
            }
            log_probabilities = F.log_softmax(self.elsewhere(dual), dim=1)
            tangent: Tensor | None = forward_mode.unpack_dual(log_probabilities).tangent
        assert tangent is not None, "the outputs depend on the weights"
        return tangent

    def _forward(self, network: Callable[[Tensor], Tensor]) -> Tensor:
        # the fused attention kernels have no tangent, and draw dropout in another order
        with sdpa_kernel(SDPBackend.MATH):
            return forward(network, self.images, self._precision)


class _Recording(TorchFunctionMode):
    """Records the results of the linear functions of a pass, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Tensor, int]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in LINEAR:
            self.kept.append((result, result._version))
        return result


class _Reusing(TorchFunctionMode):
    """Repeats a pass for tangents, with the recorded values."""

    def __init__(self, recording: _Recording) -> None:
        super().__init__()
        self._kept: Iterator[tuple[Tensor, int]] = iter(recording.kept)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in LINEAR:
            value, version = next(self._kept)
            if value._version == version:  # else it was overwritten in place: compute it again
                return _LinearTangent.apply(value.detach(), func, *_in_order(*args, **kwargs))
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _in_order(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> tuple[Any, ...]:
    return input, weight, bias, rest, named


class _LinearTangent(torch.autograd.Function):
    """A linear function with a known value; its tangent is `func(ẋ, w) + func(x, ẇ, ḃ)`."""

    @staticmethod
    def forward(
        value: Tensor,
        func: Callable[..., Tensor],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rest: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Tensor:
        return value.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.func, x, weight, _, ctx.rest, ctx.named = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def jvp(ctx: Any, _value: None, _func: None, dx: Tensor | None, dw: Tensor | None, db: Any, *_: None) -> Any:
        x, weight = ctx.saved_tensors
        parts = []
        if dw is not None or db is not None:
            parts.append(ctx.func(x, torch.zeros_like(weight) if dw is None else dw, db, *ctx.rest, **ctx.named))
        if dx is not None:
            parts.append(ctx.func(dx, weight, None, *ctx.rest, **ctx.named))
        return parts[0].add_(parts[1]) if len(parts) == 2 else parts[0]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute `F.batch_norm`, with a cheap tangent where the statistics are the batch's own."""
    if not training or weight is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    value: Tensor = _BatchNormTangent.apply(input, weight, bias, running_mean, running_var, momentum, eps)[0]
    return value


class _BatchNormTangent(torch.autograd.Function):
    """`y = γ x̂ + β` with `x̂ = (x − μ) / σ`; `ẏ = γ ∂x̂(ẋ) + γ̇ x̂ + β̇`, and ∂x̂ is its own transpose."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Any, var: Any, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, *_, ctx.eps = inputs
        _, mean, inverse_std = output
        ctx.mark_non_differentiable(mean, inverse_std)
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(x, weight, mean, inverse_std)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, db: Tensor | None, *_: None) -> tuple[Any, None, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        parts = []
        if dx is not None:
            parts.append(
                torch.ops.aten.native_batch_norm_backward(
                    dx, x, weight, None, None, mean, inverse_std, True, ctx.eps, [True, False, False]
                )[0]
            )
        if dw is not None or db is not None:
            slope = torch.zeros_like(weight) if dw is None else dw * inverse_std
            shift = (0 if db is None else db) - mean * slope
            per_channel = (1, -1) + (1,) * (x.dim() - 2)
            parts.append(
                torch.addcmul(shift.view(per_channel).to(x.dtype), x, slope.view(per_channel).to(x.dtype))
            )
        tangent = parts[0].add_(parts[1]) if len(parts) == 2 else parts[0]
        return tangent, None, None


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
