"""T of some rank is the product of two factors, which learn by the gradient of T."""

import pytest
import torch
from torch import Tensor

from emma_tune.defenses.emma import align_loss, objective, project_rows, release
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.hypergradient import hypergradient
from emma_tune.training.low_rank import descend, first_factors, gradients, product
from tests.textbook import outer_loss
from tests.training.test_hypergradient import LR, draw, draw_answers, relative


def stochastic(rows: int, columns: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.05
    return drawn / drawn.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("weight", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("rank", [1, 3, 10])
@pytest.mark.parametrize("kind", ["smooth", "resnet8"])
def test_the_gradients_of_both_factors_are_those_of_double_backward(kind: str, rank: int, weight: float) -> None:
    net, x = draw(kind, 10, torch.float64)
    p, _ = draw_answers(10, "inside", torch.float64)
    A, B = stochastic(10, rank, 1).requires_grad_(), stochastic(rank, 10, 2).requires_grad_()
    expected = torch.autograd.grad(outer_loss(net, x, p, A @ B, LR, weight), (A, B))
    T = product((A, B)).detach()
    slope, _ = hypergradient(ForwardPass(net, x), p, T, lr=LR, objective=objective(release, {"lambda": weight}))
    for found, wanted in zip(gradients((A, B), slope), expected, strict=True):
        if wanted.norm() > 1e-12 * slope.norm():  # of rank one the scale of A's rows is divided out
            assert relative(found, wanted) <= 1e-9
        else:
            assert rank == 1
            assert found.norm() <= 1e-12 * slope.norm()


@pytest.mark.parametrize("K", [2, 3, 10])
def test_it_begins_as_the_identity_or_as_groups_of_classes(K: int) -> None:
    assert torch.equal(product(first_factors(K, None)), torch.eye(K))
    assert torch.equal(product(first_factors(K, K)), torch.eye(K))
    torch.testing.assert_close(product(first_factors(K, 1)), torch.full((K, K), 1 / K))
    for rank in range(1, K):
        A, B = first_factors(K, rank)
        T = product((A, B))
        assert (A.shape, B.shape) == ((K, rank), (rank, K))
        assert torch.linalg.matrix_rank(T) == rank
        assert float(T.trace()) == pytest.approx(rank, abs=1e-6)
        for k in range(K):
            group = [j for j in range(K) if j % rank == k % rank]
            assert T[k].tolist() == pytest.approx([(j in group) / len(group) for j in range(K)], abs=1e-7)


def test_a_step_of_the_matrix_alone_is_the_formula_to_the_last_bit() -> None:
    T, slope = stochastic(5, 5, 3, torch.float32), torch.randn(5, 5, generator=torch.Generator().manual_seed(4))
    (found,) = descend((T,), slope, 0.3)
    assert torch.equal(found, project_rows(T - 0.3 * slope))


def test_of_full_rank_a_step_from_the_identity_is_that_of_the_matrix_alone_to_first_order() -> None:
    slope = torch.randn(6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    eye = torch.eye(6, dtype=torch.float64)
    whole, both = (eye,), (eye, eye)
    apart = []
    for step in (1e-2, 1e-3, 1e-4):
        found, expected = (product(descend(factors, slope, step)) for factors in (both, whole))
        apart.append(float((found - expected).abs().max() / (expected - eye).abs().max()))
    assert apart[2] < 1e-3
    assert apart[0] / apart[1] == pytest.approx(10, rel=0.2)  # the difference is of second order
    assert apart[1] / apart[2] == pytest.approx(10, rel=0.2)


def test_every_factor_stays_row_stochastic_and_the_rank_is_kept() -> None:
    factors = first_factors(7, 3)
    for seed in range(20):
        slope = 3 * torch.randn(7, 7, generator=torch.Generator().manual_seed(seed))
        factors = descend(factors, slope, 0.3)
        for of in factors:
            assert (of > 0).all()
            torch.testing.assert_close(of.sum(dim=1), torch.ones(len(of)))
    assert torch.linalg.matrix_rank(product(factors).double(), rtol=1e-6) <= 3


@pytest.mark.parametrize(("K", "rank"), [(10, 1), (10, 3), (6, 2)])
def test_of_a_steep_loss_a_matrix_of_low_rank_stays_a_transition_matrix(K: int, rank: int) -> None:
    """The slope of `−log T[k, k]` has no bound: whole steps along it overflow, and T is no number."""
    factors = first_factors(K, rank)
    for _ in range(300):
        T = product(factors).requires_grad_()
        loss = 0.0015 * align_loss(torch.eye(K), T) + (T * torch.arange(K) / K).sum()
        factors = descend(factors, *torch.autograd.grad(loss, T), 2.0)
    T = product(factors)
    assert (T > 0).all()
    torch.testing.assert_close(T.sum(dim=1), torch.ones(K))


def test_of_rank_one_every_row_is_the_same() -> None:
    A, B = first_factors(4, 1)
    for seed in range(5):
        A, B = descend((A, B), torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)), 0.3)
        T = product((A, B))
        assert torch.equal(T, T[:1].expand(4, 4))
