"""The tangent along a kept pass is the slope of the log-probabilities, whatever the network does on the way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.training.forward_pass import ForwardPass

B, K = 6, 3


class Scaled(nn.Module):
    """Functions of the same weights called by name, a bias by keyword, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 3))
        self.matrix = nn.Parameter(torch.randn(K, 24))

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv1d(x.flatten(2), self.weight, bias=None, padding=1, stride=3)
        h = h[..., :6].contiguous()
        h += 0.5 * h.tanh()
        return F.linear(input=h.flatten(1), weight=self.matrix) + F.linear(h.flatten(1).cos(), self.matrix)


def networks() -> dict[str, nn.Module]:
    flat = [nn.Flatten(), nn.LazyLinear(K)]
    return {
        "linear": nn.Sequential(*flat),
        "convolutions": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, stride=2, dilation=1), nn.Tanh(), *flat),
        "groups": nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.Sigmoid(), *flat),
        "volume": nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 3, (1, 3, 3)), nn.GELU(), *flat),
        "transposed": nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Softplus(), *flat),
        "batch norm": nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), *flat),
        "batch norm first": nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), *flat),
        "batch norm of rows": nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.BatchNorm1d(5), nn.LazyLinear(K)),
        "batch norm without weights": nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), *flat),
        "batch norm with kept statistics": nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval(), *flat),
        "batch norm without statistics": nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), *flat
        ),
        "overwritten": nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), *flat),
        "overwritten twice": nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.SiLU(inplace=True), nn.Conv2d(4, 4, 3), nn.Hardtanh(-0.1, 0.1, True), *flat
        ),
        "shared": nn.Sequential(nn.Unflatten(3, (2, 4)), Twice(), *flat),
        "called by name": Scaled(),
    }


class Twice(nn.Module):
    """The same layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).tanh())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(B, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def drawn(name: str, images: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = networks()[name].double()
        kept = {n: (b + 0.3).clone() for n, b in net.named_buffers() if b.dtype == torch.float64}
        net(images)  # gives lazy layers their shapes
    for buffer_name, buffer in net.named_buffers():
        if buffer_name in kept:
            buffer.copy_(kept[buffer_name])
    return net


@pytest.mark.parametrize("name", list(networks()))
def test_the_tangent_is_a_slope(name: str, images: Tensor) -> None:
    net = drawn(name, images)
    chance = torch.Generator().manual_seed(3)
    v = {n: 0.1 * torch.randn(w.shape, generator=chance, dtype=w.dtype) for n, w in net.named_parameters()}
    forward = ForwardPass(net, images)
    kept = forward.logits.detach().clone()

    def at(h: float) -> Tensor:
        moved = {n: w.detach() + h * v[n] for n, w in net.named_parameters()}
        return forward.elsewhere(moved).log_softmax(dim=1).detach()

    h = 1e-5  # central differences err by h² and by rounding over h, about 1e-10 each
    slope = (at(h) - at(-h)) / (2 * h)
    found = forward.tangent(v)
    torch.testing.assert_close(found, slope, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(forward.tangent(v), found, rtol=0, atol=0)
    torch.testing.assert_close(at(0), kept.log_softmax(dim=1), rtol=0, atol=1e-14)
    forward.logits.sum().backward()  # the graph of the pass is whole


def test_one_direction_at_a_time(images: Tensor) -> None:
    net = drawn("batch norm", images)
    forward = ForwardPass(net, images)
    v = {n: torch.ones_like(w) for n, w in net.named_parameters()}
    parts = [forward.tangent({n: direction}) for n, direction in v.items()]
    together = forward.tangent(v)
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), together, rtol=1e-10, atol=1e-12)
