"""GRAD² solves its linear programme, as a solver does, and as trying every corner does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from emma_tune.defenses.release import Release

EPSILONS = (0, 0.1, 0.5, 1, 1.7, 2)


def draw(K: int, scale: float) -> tuple[Tensor, Tensor]:
    """Answers, flat, peaked, one-hot and uniform, and coefficients of so large a size, some equal, (N, K) each."""
    chance = np.random.default_rng(K)
    drawn = [chance.dirichlet(np.full(K, concentration), 3) for concentration in (0.1, 1, 20)]
    p = np.concatenate([*drawn, np.eye(K)[chance.permutation(K)[:2]], np.full((1, K), 1 / K)])
    coefficients = chance.normal(size=p.shape)
    coefficients[::4] = coefficients[::4].round()
    return torch.from_numpy(p), torch.from_numpy(scale * coefficients)


def assert_feasible(answers: Tensor, p: Tensor, epsilon: float) -> None:
    assert (answers >= 0).all()
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(len(p), dtype=p.dtype), atol=1e-14, rtol=0)
    assert ((answers - p).abs().sum(dim=1) <= epsilon + 1e-14).all()


def solved(p: list[float], coefficients: list[float], epsilon: float) -> float:
    """The largest `⟨c, q⟩`, with variables q and u ≥ |q − p|; the solver is given 1e-9 of ε."""
    K = len(p)
    eye, none = np.eye(K), np.zeros(K)
    found = linprog(
        -np.array([*coefficients, *none]),
        A_ub=np.block([[eye, -eye], [-eye, -eye], [none, none + 1]]),
        b_ub=np.array([*p, *(-entry for entry in p), epsilon + 1e-9]),
        A_eq=np.concatenate([none + 1, none])[None],
        b_eq=[1],
        bounds=(0, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert found.success, found.message
    return -float(found.fun)


def tried(p: list[float], coefficients: list[float], epsilon: float) -> float:
    """The largest `⟨c, q⟩`: in whatever order classes give, as much as they have, to whichever class takes."""
    best = -float("inf")
    for taker, *givers in itertools.permutations(range(len(p))):
        q, left = list(p), epsilon / 2
        for giver in givers:
            moved = min(left, q[giver])
            q[giver], q[taker], left = q[giver] - moved, q[taker] + moved, left - moved
            best = max(best, sum(c * entry for c, entry in zip(coefficients, q, strict=True)))
    return best


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("K", [2, 3, 10, 30])
def test_it_is_what_a_solver_finds(K: int, epsilon: float, scale: float) -> None:
    p, c = draw(K, scale)
    answers = Release("grad2", {"epsilon": epsilon})(p, guidance=c)
    assert_feasible(answers, p, epsilon)
    expected = [solved(*rows, epsilon) for rows in zip(p.tolist(), c.tolist(), strict=True)]
    assert (c * answers).sum(dim=1).tolist() == pytest.approx(expected, abs=1e-8 * scale)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_it_is_the_best_of_all_ways_to_move_mass(K: int, epsilon: float) -> None:
    p, c = draw(K, 1)
    answers = Release("grad2", {"epsilon": epsilon})(p, guidance=c)
    expected = [tried(*rows, epsilon) for rows in zip(p.tolist(), c.tolist(), strict=True)]
    assert (c * answers).sum(dim=1).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_known_answer() -> None:
    """Of 0.25 to be moved the worst class gives its 0.1 and the second worst the rest."""
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    c = torch.tensor([[-3.0, 7.0, 5.0, -1.0]], dtype=torch.float64)
    expected = torch.tensor([[0, 0.45, 0.3, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(Release("grad2", {"epsilon": 0.5})(p, guidance=c), expected, atol=1e-15, rtol=0)


def test_with_all_the_budget_the_best_class_has_everything() -> None:
    p, c = draw(6, 1)
    answers = Release("grad2", {"epsilon": 2})(p, guidance=c)
    assert (c * answers).sum(dim=1).tolist() == pytest.approx(c.max(dim=1).values.tolist(), abs=1e-14)


def test_only_the_order_of_the_coefficients_counts() -> None:
    p, c = draw(6, 1)
    first = Release("grad2", {"epsilon": 0.5})(p, guidance=c)
    assert torch.equal(Release("grad2", {"epsilon": 0.5})(p, guidance=1e6 * c.pow(3) + 5), first)
