"""Adaptive misinformation: who is misled, how far, and what the misleading network is trained on."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.adaptive_misinformation import exposing, misinforming
from emma_tune.defenses.release import Release


def draw(seed: int, count: int = 30, classes: int = 4) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=chance, dtype=torch.float64).mul(2).softmax(dim=1)


@pytest.mark.parametrize(("tau", "nu"), [(0.5, 1000), (0.9, 1000), (0.5, 10), (0.0, 3), (1.0, 0.5)])
def test_answers_are_mixed_by_the_logistic_of_the_confidence(tau: float, nu: float) -> None:
    p, wrong = draw(1), draw(2)
    answers = Release("adaptive_misinformation", {"tau": tau, "nu": nu})(p, guidance=wrong)
    for row, other, found in zip(p.tolist(), wrong.tolist(), answers.tolist(), strict=True):
        alpha = 1 / (1 + math.exp(min(nu * (max(row) - tau), 700)))
        expected = [(1 - alpha) * x + alpha * y for x, y in zip(row, other, strict=True)]
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_sure_hear_the_truth_the_unsure_a_lie_and_who_stands_between_half_of_each(dtype: torch.dtype) -> None:
    p = torch.tensor([[0.75, 0.25, 0], [0.5, 0.25, 0.25], [0.25, 0.125, 0.625]], dtype=dtype)
    wrong = torch.tensor([[0.0, 0.0, 1.0]], dtype=dtype).expand(3, 3)
    found = Release("adaptive_misinformation", {"tau": 0.625, "nu": 1000})(p, guidance=wrong)
    expected = torch.stack([p[0], wrong[1], (p[2] + wrong[2]) / 2])
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 1, 8])
def test_the_loss_is_the_surprise_at_another_class(scale: float) -> None:
    chance = torch.Generator().manual_seed(3)
    logits = scale * torch.randn(20, 5, generator=chance, dtype=torch.float64)
    y = torch.arange(20) % 5
    mean = 0.0
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        others = sum(map(math.exp, row[:label] + row[label + 1 :]))  # 1 − q of all, without its loss of digits
        mean -= math.log(others / sum(map(math.exp, row))) / 20
    found = misinforming(logits, F.one_hot(y, 5).double())
    assert found.shape == ()
    assert float(found) == pytest.approx(mean, rel=1e-12)


def test_its_gradient_is_that_of_the_formula() -> None:
    chance = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(12, 5, generator=chance, dtype=torch.float64)
    y = torch.arange(12) % 5
    one, other = (logits.clone().requires_grad_() for _ in range(2))
    misinforming(one, F.one_hot(y, 5).double()).backward()
    (-(1 - other.softmax(dim=1)[torch.arange(12), y]).log().mean()).backward()
    torch.testing.assert_close(one.grad, other.grad, atol=1e-12, rtol=0)


def sure(size: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient in the logits, of a network sure of the label, or of another class."""
    logits = (size * torch.tensor([[1, 0, 0], [0, -1, 0], [-1, -1, 1]], dtype=dtype)).requires_grad_()
    loss = misinforming(logits, torch.eye(3, dtype=dtype))
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [20, 1e3, 1e30])
def test_loss_and_gradient_stay_finite_however_sure_the_network_is(size: float, dtype: torch.dtype) -> None:
    loss, gradient = sure(size, dtype)
    assert float(loss) == pytest.approx((size - math.log(2) + 0 + 2 * size - math.log(2)) / 3, rel=1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [20, 1e3, 1e6])
def test_a_network_sure_of_the_label_learns_as_much_as_any(size: float) -> None:
    _, gradient = sure(size, torch.float64)
    expected = torch.tensor([[1, -0.5, -0.5], [0, 0, 0], [-0.5, -0.5, 1]], dtype=torch.float64) / 3
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0)


def test_under_exposure_the_exposed_network_answers_and_says_how_sure_it_is() -> None:
    p, wrong, exposed = draw(1), draw(2), draw(3)
    both = torch.cat([wrong, exposed], dim=1)
    params = {"tau": 0.6, "nu": 20}
    found = Release("adaptive_misinformation", params)(p, guidance=both)
    assert torch.equal(found, Release("adaptive_misinformation", params)(exposed, guidance=wrong))
    assert not torch.allclose(found, Release("adaptive_misinformation", params)(p, guidance=wrong))


@pytest.mark.parametrize("others", [1, 7])
def test_exposure_asks_for_the_label_here_and_for_no_class_there(others: int) -> None:
    chance = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(6 + others, 4, generator=chance, dtype=torch.float64)
    y = torch.arange(6) % 4
    q = logits.softmax(dim=1).tolist()
    known = -sum(math.log(q[i][label]) for i, label in enumerate(y.tolist())) / 6
    unsure = -sum(math.log(share) / 4 for row in q[6:] for share in row) / others
    found = exposing(logits, F.one_hot(y, 4).double())
    assert float(found) == pytest.approx(known + unsure, rel=1e-12)
