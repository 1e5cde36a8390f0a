"""What T is learned against: the gradient through what each attacker makes of the answers, and who is asked."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from emma_tune.attacks import AGAINST, differentiable, guess_of
from emma_tune.defenses.emma import objective, release
from emma_tune.training.learner import Learner
from emma_tune.training.low_rank import gradients
from emma_tune.training.settings import Training
from emma_tune.training.surrogates import MOST_OTHERS, Batch, Surrogates
from tests.textbook import normalized, outer_loss, released
from tests.training.test_hypergradient import LR, B, draw, draw_answers, relative
from tests.training.test_low_rank import stochastic

K, WEIGHT = 6, 0.03
EPSILON = 1e-12


def by_loops(p: Tensor, T: Tensor, others: Tensor) -> Tensor:
    """The kernel posterior mean, a pair of answers at a time."""
    answers, known = released(p, T), released(others, T)
    squared = [[((a - b) ** 2).sum() for b in known] for a in answers]
    h_squared = 0.01 * torch.stack([torch.stack(row) for row in squared]).mean()
    rows = []
    for row in squared:
        w = [torch.exp(-d / (2 * h_squared)) for d in row]
        rows.append(sum(weight * clean for weight, clean in zip(w, others, strict=True)) / sum(w))
    return torch.stack(rows)


def of_each(pool: Tensor, A: Tensor):
    """The targets of each attacker as the formulas have them."""
    return {
        "soft": released,
        "inverse": lambda p, T: normalized((p @ A @ torch.linalg.pinv(A)).clamp(min=EPSILON)),  # BB⁺ = 1
        "bayes": lambda p, T: by_loops(p, T, pool[B:]),
    }


def surrogates_of(net: nn.Module, shares: dict[str, float]) -> Surrogates:
    def new() -> Learner:
        return Learner(copy.deepcopy(net), Training(model="resnet8", epochs=1), seed=1, role="matrix")  # type: ignore[arg-type]

    return Surrogates(shares, objective(release, {"lambda": WEIGHT}), new)


@pytest.mark.parametrize(
    "shares",
    [
        {"inverse": 1.0},
        {"bayes": 1.0},
        {"soft": 0.25, "inverse": 0.75},
        {"bayes": 0.5, "inverse": 0.3, "soft": 0.2},
    ],
)
@pytest.mark.parametrize("kind", ["smooth", "resnet8"])
def test_the_gradient_against_attackers_is_that_of_double_backward(kind: str, shares: dict[str, float]) -> None:
    net, x = draw(kind, K, torch.float64)
    p, _ = draw_answers(K, "inside", torch.float64)
    pool = torch.cat([0.9 * p + 0.1 / K, stochastic(9, K, 8)])
    A, right = stochastic(K, 3, 1).requires_grad_(), stochastic(3, K, 2).requires_grad_()
    targets, clean = of_each(pool, A), pool[:B]
    loss = sum(of * outer_loss(net, x, clean, A @ right, LR, WEIGHT, targets[name]) for name, of in shares.items())
    expected = torch.autograd.grad(loss, (A, right))
    batch = Batch(x, torch.arange(B), pool)
    T = (A @ right).detach()
    slope, value = surrogates_of(net, shares).hypergradient(batch, T, lr=LR)
    assert float(value) == pytest.approx(loss.item(), rel=1e-9)
    for found, wanted in zip(gradients((A.detach(), right.detach()), slope), expected, strict=True):
        assert relative(found, wanted) <= 1e-9


def test_who_inverts_a_matrix_of_full_rank_has_p_and_teaches_nothing() -> None:
    p, T = stochastic(B, K, 3), (stochastic(K, K, 4) + torch.eye(K)).div(2).requires_grad_()
    undone = differentiable.inverse(release, p, T, lambda: p)
    torch.testing.assert_close(undone, p, rtol=0, atol=1e-10)
    towards = torch.randn(B, K, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (slope,) = torch.autograd.grad((towards * undone).sum(), T)
    (plain,) = torch.autograd.grad((towards * release(p, T)).sum(), T)
    assert slope.norm() <= 1e-9 * plain.norm()


def test_who_inverts_leaves_alone_what_a_gate_lets_pass() -> None:
    p, T = stochastic(B, K, 3), (stochastic(K, K, 4) + torch.eye(K)) / 2
    acts = p.max(dim=1).values < p.max(dim=1).values.median()

    def gated(q: Tensor, T: Tensor) -> Tensor:
        return torch.where((q.max(dim=1).values < p.max(dim=1).values.median())[:, None], release(q, T), q)

    assert 0 < acts.sum() < B
    torch.testing.assert_close(differentiable.inverse(gated, p, T, lambda: p), p, rtol=0, atol=1e-10)


@pytest.mark.parametrize("b", [0.0, 0.2, 0.9])
def test_the_posterior_mean_of_three_certain_classes_is_the_closed_form(b: float) -> None:
    """Of `T = (1−b) 1 + b/3`, two answers are apart by 2(1−b)², and one of three pairs is a class with itself."""
    certain = torch.eye(3, dtype=torch.float64)
    T = ((1 - b) * certain + b / 3).requires_grad_()
    found = differentiable.bayes(release, certain, T, lambda: certain)
    h_squared = 0.01 * 2 * (1 - b) ** 2 * 2 / 3
    w = math.exp(-2 * (1 - b) ** 2 / (2 * h_squared))
    expected = (certain * (1 - w) + w) / (1 + 2 * w)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-15)


def test_the_posterior_mean_moves_as_the_closed_form_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers p'₀ = (1−b, b, 0), p'₁ = (b, 1−b, 0), p'₂ = (0, 0, 1), so that `‖p'₀ − p'₁‖² = 2(1−2b)²`."""
    monkeypatch.setattr(differentiable, "BANDWIDTH", 0.8)
    b, certain = torch.tensor(0.2, dtype=torch.float64, requires_grad=True), torch.eye(3, dtype=torch.float64)
    zero, one = torch.zeros_like(b), torch.ones_like(b)
    T = torch.stack([torch.stack(row) for row in ([1 - b, b, zero], [b, 1 - b, zero], [zero, zero, one])])
    found = differentiable.bayes(release, certain, T, lambda: certain)
    near, far = 2 * (1 - 2 * b) ** 2, (1 - b) ** 2 + b**2 + 1
    h_squared = 0.64 * (2 * near + 4 * far) / 9
    w, v = torch.exp(-near / (2 * h_squared)), torch.exp(-far / (2 * h_squared))
    rows = [[1 / (1 + w + v), w / (1 + w + v), v / (1 + w + v)], [v / (1 + 2 * v)] * 2 + [1 / (1 + 2 * v)]]
    for row, expected in ((0, rows[0]), (2, rows[1])):
        for k in range(3):
            assert float(found[row, k]) == pytest.approx(float(expected[k]), rel=1e-9)
            slopes = (torch.autograd.grad(of, b, retain_graph=True)[0] for of in (found[row, k], expected[k]))
            assert float(next(slopes)) == pytest.approx(float(next(slopes)), rel=1e-9)


def test_of_rank_one_nothing_is_known_but_the_mean() -> None:
    p, others = stochastic(B, K, 3), stochastic(20, K, 6)
    T = stochastic(1, K, 7).expand(K, K)
    found = differentiable.bayes(release, p, T, lambda: others)
    torch.testing.assert_close(found, others.mean(dim=0).expand(B, K), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", sorted(AGAINST))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_attacker_has_distributions(name: str, dtype: torch.dtype) -> None:
    p = stochastic(B, K, 3, dtype)
    p[::2] = torch.eye(K, dtype=dtype)[p[::2].argmax(dim=1)]
    T = stochastic(K, 2, 1, dtype) @ stochastic(2, K, 2, dtype)
    found = guess_of(name)(release, p, T, lambda: stochastic(20, K, 6, dtype))
    assert found.dtype == dtype
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(B, dtype=dtype))


def test_others_are_the_queries_that_are_not_in_the_batch() -> None:
    pool = torch.arange(10.0)[:, None]
    indices = torch.tensor([7, 0, 3])
    assert Batch(pool, indices, pool).others[:, 0].tolist() == [1, 2, 4, 5, 6, 8, 9]
    assert Batch(pool, indices, pool).posteriors[:, 0].tolist() == [7, 0, 3]
    assert torch.equal(Batch(pool, torch.arange(10), pool).others, pool)  # the whole pool is one batch
    large = torch.arange(3.0 * MOST_OTHERS)[:, None]
    some = Batch(large, torch.arange(5), large).others[:, 0]
    assert MOST_OTHERS / 2 < len(some) <= MOST_OTHERS
    assert some.min() == 5
    assert set(some.diff().tolist()) == {3.0}
