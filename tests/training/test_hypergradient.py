"""The hypergradient is that of textbook double backward; the outer losses are the formulas."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from emma_tune.defenses.emma import align_loss, mislead_loss, objective, release
from emma_tune.training.classifier import new_classifier
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.hypergradient import hypergradient
from tests.pictures import as_images
from tests.textbook import outer_loss, textbook_hypergradient

B, LR = 12, 0.1
NETWORKS = ("smooth", "convolution", "batch_norm", "resnet8")


def weighed(weight):
    """EMMA's objective under a weight λ."""
    return objective(release, {"lambda": weight})


def draw(kind: str, K: int, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A network in training mode and a batch for it, always the same ones."""
    chance = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (B, 3, 8, 8), generator=chance).to(torch.uint8)
    if kind == "resnet8":  # batch norm everywhere, uint8 images, channels_last
        net = new_classifier("resnet8", as_images(images), classes=K, seed=5, role="surrogate")
        return net.to(dtype).train(), images
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
    gradient, loss = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(weight))
    expected, expected_loss = textbook_hypergradient(net, x, p, T, LR, weight)
    assert gradient.dtype == dtype
    assert relative(gradient, expected) <= tolerance
    assert relative(loss, expected_loss) <= tolerance


@pytest.mark.parametrize("kind", ["batch_norm", "resnet8"])
def test_single_precision_is_near_the_exact_gradient(kind: str) -> None:
    net, x = draw(kind, 10, torch.float32)
    p, T = draw_answers(10, "inside", torch.float32)
    gradient, _ = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(0.03))
    exact = x if x.dtype == torch.uint8 else x.double()
    expected, _ = textbook_hypergradient(copy.deepcopy(net).double(), exact, p.double(), T.double(), LR, 0.03)
    assert relative(gradient.double(), expected) <= 1e-4


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_is_the_slope_of_the_outer_loss(weight: float) -> None:
    net, x = draw("smooth", 4, torch.float64)
    p, T = draw_answers(4, "inside", torch.float64)
    p = 0.9 * p + 0.1 / 4  # nothing at the clamp, where there is no slope
    gradient, _ = hypergradient(ForwardPass(net, x), p, T, lr=1.0, objective=weighed(weight))
    h = 1e-5
    for k in range(4):
        for j in range(4):
            step = torch.zeros_like(T)
            step[k, j] = h
            ahead, behind = (outer_loss(net, x, p, T + sign * step, 1.0, weight) for sign in (1, -1))
            # central differences err by h² and by rounding of the loss over h, about 1e-10 each
            assert float(gradient[k, j]) == pytest.approx(float((ahead - behind).detach()) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("kind", NETWORKS)
def test_only_buffers_change_and_as_one_training_forward_changes_them(kind: str) -> None:
    net, x = draw(kind, 10, torch.float32)
    p, T = draw_answers(10, "at", torch.float32)
    trained = copy.deepcopy(net)
    trained(x)
    handed = [tensor.clone() for tensor in (x, p, T)]
    gradient, loss = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(0.3))
    assert net.state_dict().keys() == trained.state_dict().keys()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in net.state_dict().items())
    assert all(w.grad is None and w.requires_grad for w in net.parameters())
    assert all(torch.equal(now, before) for now, before in zip((x, p, T), handed, strict=True))
    assert net.training
    assert not any(tensor.requires_grad for tensor in (T, gradient, loss))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_real_update_goes_on_from_the_same_pass(kind: str) -> None:
    net, x = draw(kind, 10, torch.float64)
    p, T = draw_answers(10, "inside", torch.float64)
    alone = copy.deepcopy(net)
    forward = ForwardPass(net, x)
    hypergradient(forward, p, T, lr=LR, objective=weighed(0.3))
    F.cross_entropy(forward.logits, p @ T).backward()
    F.cross_entropy(alone(x), p @ T).backward()
    for (name, found), expected in zip(net.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-15, msg=name)


TORCHVISION = [
    "resnet18",  # rectifiers and sums in place
    "mobilenet_v2",
    "densenet121",
    "efficientnet_b0",  # stochastic depth
    "convnext_tiny",  # layer norm
    "squeezenet1_1",  # rectifiers in place right behind convolutions, and dropout
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_classifiers_go_through_unchanged(name: str) -> None:
    chance = torch.Generator().manual_seed(7)
    x = torch.randn(4, 3, 64 if name == "convnext_tiny" else 32, 32, generator=chance, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        net = torchvision.models.get_model(name, weights=None, num_classes=4).double().train()
    check_against_textbook(net, x)


def test_a_vision_transformer_goes_through_unchanged() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        net = torchvision.models.VisionTransformer(
            image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=4,
            dropout=0.2, attention_dropout=0.2,
        ).double()  # fmt: skip
        nn.init.normal_(net.heads.head.weight)  # it starts at zero, where nothing depends on T
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # for the textbook: the fused kernels cannot be differentiated twice
        check_against_textbook(net.train(), x)


def test_frozen_weights_stay_where_they_are() -> None:
    net, x = draw("batch_norm", 4, torch.float64)
    net[0].requires_grad_(False)
    p, T = draw_answers(4, "inside", torch.float64)
    gradient, _ = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(0.3))
    with torch.no_grad():
        features = net[0](x)
    expected, _ = textbook_hypergradient(net[1:], features, p, T, LR, 0.3)
    assert relative(gradient, expected) <= 1e-9


def test_weights_that_are_not_used_make_no_difference() -> None:
    net, x = draw("smooth", 4, torch.float64)
    p, T = draw_answers(4, "inside", torch.float64)
    expected, _ = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(0.3))
    net[1].register_parameter("spare", nn.Parameter(torch.ones(3)))
    found, _ = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=weighed(0.3))
    assert torch.equal(found, expected)


class HalfPrecision(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


@pytest.mark.parametrize("kind", ["batch_norm", "resnet8"])
def test_half_precision_errs_no_more_than_double_backward_does(kind: str) -> None:
    net, x = draw(kind, 10, torch.float32)
    p, T = draw_answers(10, "inside", torch.float32)
    exact, _ = textbook_hypergradient(net, x, p, T, LR, 0.03)
    of_textbook, _ = textbook_hypergradient(HalfPrecision(net), x, p, T, LR, 0.03)
    forward = ForwardPass(net, x, precision="bf16")
    found, _ = hypergradient(forward, p, T, lr=LR, objective=weighed(0.03))
    assert forward.logits.dtype == found.dtype == torch.float32
    assert 0 < relative(found, exact) < 1.5 * relative(of_textbook, exact)


def check_against_textbook(net: nn.Module, x: Tensor) -> None:
    """Also where the network draws: both forms draw twice, and the tangent pass draws what the first one drew."""
    p, T = draw_answers(4, "inside", torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        expected, _ = textbook_hypergradient(net, x, p[:4], T, LR, 0.03)
        after = torch.get_rng_state()
        torch.manual_seed(9)
        gradient, _ = hypergradient(ForwardPass(net, x), p[:4], T, lr=LR, objective=weighed(0.03))
        assert torch.equal(torch.get_rng_state(), after)
    assert relative(gradient, expected) <= 1e-9


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
