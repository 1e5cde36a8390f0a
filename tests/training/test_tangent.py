"""Tangents along a graph are slopes, and those of PyTorch's forward mode, whatever a network is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call, jvp
from torch.utils.checkpoint import checkpoint

from emma_tune.models import build_model
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.tangent import tangent_of

LIGHT = (  # one of each family that is small enough
    "resnet8",
    "wrn40_2",
    "mnasnet0_5",
    "mobilenet_v3_small",  # hard sigmoids, whose backward cannot be differentiated
    "regnet_y_400mf",  # sigmoids that multiply
    "shufflenet_v2_x0_5",  # chunks
    "squeezenet1_1",
)
HEAVY = ("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "resnext50_32x4d", "swin_t")


class Cube(torch.autograd.Function):
    """A function of a user's own, without a forward mode: k x³, with k before x."""

    @staticmethod
    def forward(ctx: Any, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        ctx.k = ctx.variable = k
        return k * x**3, x.argmax()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        return None, 3 * ctx.k * x**2 * gradient


class Once(torch.autograd.Function):
    """A function whose backward pass cannot be differentiated: sin x."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ctx.saved_tensors[0].cos() * gradient


class OnceAndForward(Once):
    """The same, with a forward mode."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return ctx.saved_tensors[0].cos() * tangent


class Dropped(Once):
    """The same, with a forward mode that forgets its tangent, as operators of other libraries do."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return torch.zeros_like(tangent)


class Cut(Cube):
    """The same as `Cube`, with a backward pass that is cut off from the graph."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        return None, 3 * ctx.k * x**2 * gradient.detach()


def in_place(x: Tensor, w: Tensor) -> Tensor:
    out = (x * w).clone()
    out[:, 1:] *= w[0]
    out[0] = w.sum()
    return out.sin_()


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "of one's own": lambda x, w: Cube.apply(2, w)[0] * x,
    "with a step": lambda x, w: (x * w).round() + w * x,
    "of a sign": lambda x, w: x * w * (w - x).sign(),
    "of parts": lambda x, w: torch.cat((x * w).split([1, 2], dim=1)[::-1], dim=1),
    "in place": in_place,
    "computed again": lambda x, w: checkpoint(lambda v: (x * v).exp(), w, use_reentrant=False),
    "through infinities": lambda x, w: (x * w).logcumsumexp(dim=1),
    "broadcast": lambda x, w: x + w.tanh() - 2 * w,
}
"""Of x (4, 3) and w (3,)."""


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_of_any_function(name: str) -> None:
    chance = torch.Generator().manual_seed(1)
    x, w, v = (torch.randn(size, generator=chance, dtype=torch.float64) for size in ((4, 3), (3,), (3,)))
    function, h = FUNCTIONS[name], 1e-6
    leaf = w.clone().requires_grad_()
    found = tangent_of(function(x, leaf), {leaf: v})
    slope = (function(x, w + h * v) - function(x, w - h * v)) / (2 * h)
    torch.testing.assert_close(found, slope, rtol=0, atol=1e-8)


def check_network(network: nn.Module, images: Tensor) -> None:
    network = network.double().train()
    chance = torch.Generator().manual_seed(2)
    weights = dict(network.named_parameters())
    along = {name: torch.randn(w.shape, generator=chance, dtype=w.dtype) for name, w in weights.items()}

    def forward(at: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(3)  # dropout and stochastic depth
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        logits: Tensor = functional_call(network, (at, buffers), (images,))
        return logits

    with torch.random.fork_rng(devices=[]):
        found = tangent_of(forward(weights), {weights[name]: v for name, v in along.items()})
        expected = jvp(forward, ({name: w.detach() for name, w in weights.items()},), (along,))[1]
    assert float((found - expected).norm() / expected.norm()) <= 1e-9


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)])
def test_of_a_network_of_every_family(name: str) -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        check_network(build_model(name, channels=3, classes=4), images)


def test_of_a_network_that_is_watched() -> None:
    layer = nn.Linear(3, 3)
    layer.register_full_backward_hook(lambda *_: None)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), layer, nn.Tanh(), nn.Linear(3, 4))
    images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    check_network(network, images)


def test_of_what_depends_on_no_leaf() -> None:
    leaf, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    for output in (torch.ones(2), 2 * other, leaf.round()):
        with pytest.raises(ValueError, match="expected an output that depends on its leaves, found one that"):
            tangent_of(output, {leaf: torch.ones(2)})


@pytest.mark.parametrize("function", [Once, Cut])
def test_of_what_cannot_be_differentiated_twice(function: type[torch.autograd.Function]) -> None:
    leaf = torch.ones(2, requires_grad=True)
    output = function.apply(leaf) if function is Once else function.apply(1, leaf)[0]
    with pytest.raises(NotImplementedError, match=f"can be differentiated, found {function.__name__}Backward"):
        tangent_of(2 * output, {leaf: torch.ones(2)})


class Sine(nn.Module):
    """A network with a function, and dropout."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList([nn.Linear(12, 8), nn.Linear(8, 4)])

    def forward(self, x: Tensor) -> Tensor:
        first, last = self.layers
        logits: Tensor = last(self.function.apply(nn.functional.dropout(first(x.flatten(1)))))
        return logits


def tangent_through(function: type[torch.autograd.Function]) -> Tensor:
    """Along all ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Sine(function).double()
        forward = ForwardPass(network, torch.randn(5, 3, 2, 2, dtype=torch.float64))
        return forward.tangent({name: torch.ones_like(w) for name, w in network.named_parameters()})


class Differentiable(torch.autograd.Function):
    """sin x, with a backward pass that can be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ctx.saved_tensors[0].cos() * gradient


def test_forward_mode_goes_where_the_graph_does_not() -> None:
    expected = tangent_through(Differentiable)
    torch.testing.assert_close(tangent_through(OnceAndForward), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("function", [Once, Dropped])
def test_a_tangent_is_right_or_none(function: type[torch.autograd.Function]) -> None:
    with pytest.raises(NotImplementedError):
        tangent_through(function)
