"""The hypergradient is that of textbook double backward; the outer losses are the formulas."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from emma_tune.training.classifier import new_classifier
from emma_tune.training.hypergradient import align_loss, hypergradient, mislead_loss

B, LR = 12, 0.1
NETWORKS = ("smooth", "convolution", "batch_norm", "resnet8")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(kind: str, K: int, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A network in training mode and a batch for it, always the same ones."""
    chance = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (B, 3, 8, 8), generator=chance).to(torch.uint8)
    if kind == "resnet8":  # batch norm everywhere, uint8 images, channels_last
        return new_classifier("resnet8", images, classes=K, seed=5, role="surrogate").to(dtype).train(), images
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if kind == "smooth":
            layers: list[nn.Module] = [nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, K)]
        else:
            norm = nn.BatchNorm2d(4) if kind == "batch_norm" else nn.Identity()
            layers = [nn.Conv2d(3, 4, 3, 2, 1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, K)]
        return nn.Sequential(*layers).to(dtype).train(), images.to(dtype) / 255 - 0.5


def draw_answers(K: int, place: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Posteriors, every second one one-hot, and a matrix whose rows `inside`, `at` or `below` the clamp."""
    chance = torch.Generator().manual_seed(6)
    p = torch.rand(B, K, generator=chance, dtype=dtype).pow(4)
    p = p / p.sum(dim=1, keepdim=True)
    p[::2] = torch.eye(K, dtype=dtype)[p[::2].argmax(dim=1)]
    T = torch.rand(K, K, generator=chance, dtype=dtype) + 0.1 + torch.eye(K, dtype=dtype)
    T = T / T.sum(dim=1, keepdim=True)
    if place == "at":
        for k in range(K):  # half of every row, never its diagonal
            T[k, [(k + step) % K for step in range(1, K // 2 + 1)]] = 1e-12
        assert ((p @ T)[::2] == torch.tensor(1e-12, dtype=dtype)).sum() == B // 2 * (K // 2)
    return p, torch.eye(K, dtype=dtype) if place == "below" else T


def outer_loss(net: nn.Module, x: Tensor, p: Tensor, T: Tensor, lr: float, weight: float) -> Tensor:
    """Steps 1 to 3 of the method as they are written, differentiable in T."""
    theta = {name: w.detach().clone().requires_grad_() for name, w in net.named_parameters()}
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    mixed = torch.clamp(p @ T, 1e-12, 1)
    s = mixed / mixed.sum(dim=1, keepdim=True)
    logits = functional_call(net, (theta, copy.deepcopy(buffers)), (x,))
    inner = -(s * (logits - logits.logsumexp(dim=1, keepdim=True))).sum() / len(x)
    steps = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
    virtual = {name: w - lr * step for (name, w), step in zip(theta.items(), steps, strict=True)}
    q = functional_call(net, (virtual, buffers), (x,)).softmax(dim=1)
    rows, top = torch.arange(len(x)), p.argmax(dim=1)
    align = -(p @ T)[rows, top].log().mean()
    mislead = -(1.000001 - q[rows, top]).log().mean()
    return weight * align + (1 - weight) * mislead


def textbook(net: nn.Module, x: Tensor, p: Tensor, T: Tensor, lr: float, weight: float) -> tuple[Tensor, Tensor]:
    """The gradient by double backward, and the loss."""
    T = T.clone().requires_grad_()
    loss = outer_loss(net, x, p, T, lr, weight)
    return torch.autograd.grad(loss, T)[0], loss.detach()


def relative(found: Tensor, expected: Tensor) -> float:
    assert expected.norm() > 0
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("weight", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("place", ["inside", "at", "below"])
@pytest.mark.parametrize("K", [2, 10, 200])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_is_double_backward(
    dtype: torch.dtype, tolerance: float, kind: str, K: int, place: str, weight: float
) -> None:
    net, x = draw(kind, K, dtype)
    p, T = draw_answers(K, place, dtype)
    gradient, loss = hypergradient(net, x, p, T, lr=LR, weight=weight)
    expected, expected_loss = textbook(net, x, p, T, LR, weight)
    assert gradient.dtype == dtype
    assert relative(gradient, expected) <= tolerance
    assert relative(loss, expected_loss) <= tolerance


@pytest.mark.parametrize("kind", ["batch_norm", "resnet8"])
def test_single_precision_is_near_the_exact_gradient(kind: str) -> None:
    net, x = draw(kind, 10, torch.float32)
    p, T = draw_answers(10, "inside", torch.float32)
    gradient, _ = hypergradient(net, x, p, T, lr=LR, weight=0.03)
    exact = x if x.dtype == torch.uint8 else x.double()
    expected, _ = textbook(copy.deepcopy(net).double(), exact, p.double(), T.double(), LR, 0.03)
    assert relative(gradient.double(), expected) <= 1e-4


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_is_the_slope_of_the_outer_loss(weight: float) -> None:
    net, x = draw("smooth", 4, torch.float64)
    p, T = draw_answers(4, "inside", torch.float64)
    p = 0.9 * p + 0.1 / 4  # nothing at the clamp, where there is no slope
    gradient, _ = hypergradient(net, x, p, T, lr=1.0, weight=weight)
    h = 1e-5
    for k in range(4):
        for j in range(4):
            step = torch.zeros_like(T)
            step[k, j] = h
            ahead, behind = (outer_loss(net, x, p, T + sign * step, 1.0, weight) for sign in (1, -1))
            # central differences err by h² and by rounding of the loss over h, about 1e-10 each
            assert float(gradient[k, j]) == pytest.approx(float((ahead - behind).detach()) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("kind", NETWORKS)
def test_leaves_everything_as_it_was(kind: str) -> None:
    net, x = draw(kind, 10, torch.float32)
    p, T = draw_answers(10, "at", torch.float32)
    weights_and_buffers = copy.deepcopy(net.state_dict())
    handed = [tensor.clone() for tensor in (x, p, T)]
    gradient, loss = hypergradient(net, x, p, T, lr=LR, weight=0.3)
    assert net.state_dict().keys() == weights_and_buffers.keys()
    assert all(torch.equal(value, weights_and_buffers[name]) for name, value in net.state_dict().items())
    assert all(w.grad is None and w.requires_grad for w in net.parameters())
    assert all(torch.equal(now, before) for now, before in zip((x, p, T), handed, strict=True))
    assert net.training
    assert not any(tensor.requires_grad for tensor in (T, gradient, loss))


@settings(deadline=None)
@given(seed=st.integers(0, 999), K=st.integers(2, 12), size=st.integers(1, 9))
def test_losses_are_the_formulas(seed: int, K: int, size: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    p = torch.rand(size, K, generator=chance, dtype=torch.float64).pow(3)
    p = p / p.sum(dim=1, keepdim=True)
    T = torch.rand(K, K, generator=chance, dtype=torch.float64) + 1e-3
    T = T / T.sum(dim=1, keepdim=True)
    logits = 5 * torch.randn(size, K, generator=chance, dtype=torch.float64)
    align = mislead = 0.0
    for answer, outputs in zip(p.tolist(), logits.tolist(), strict=True):
        top = max(range(K), key=answer.__getitem__)
        align -= math.log(sum(answer[k] * float(T[k, top]) for k in range(K))) / size
        q = math.exp(outputs[top]) / sum(math.exp(z) for z in outputs)
        mislead -= math.log(1.000001 - q) / size
    assert float(align_loss(p, T)) == pytest.approx(align, rel=1e-12, abs=1e-15)
    # 1.000001 − q loses six digits where q is nearly 1
    assert float(mislead_loss(logits, p)) == pytest.approx(mislead, rel=1e-9, abs=1e-14)


def test_a_certain_surrogate_costs_the_logarithm_of_a_million() -> None:
    p = torch.eye(3, dtype=torch.float64)
    assert float(mislead_loss(1000 * p, p)) == pytest.approx(6 * math.log(10), rel=1e-9)
    assert float(align_loss(p, p)) == 0
