"""ModelGuard-W solves its linear programme, as a solver does that knows nothing of how it is done here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from emma_tune.defenses.release import Release

EPSILONS = (0, 0.1, 0.5, 1, 2)
CLASSES = (2, 3, 5, 10)

CLOSE = 3e-8
"""Of the objective, a sum of logarithms down to −27: τ is found to 1e-9, and the solver is given 1e-9 of ε."""


def draw(K: int) -> Tensor:
    """Flat and peaked ones, some nearly one-hot, and what a proof overlooks, (N, K)."""
    chance = np.random.default_rng(K)
    drawn = [chance.dirichlet(np.full(K, concentration), 5) for concentration in (0.05, 0.3, 1, 5, 100)]
    likely = np.eye(K)[chance.integers(0, K, 5)] * (1 - 10.0 ** -np.arange(2, 7)[:, None])
    drawn.append(likely + (1 - likely.sum(axis=1, keepdims=True)) * chance.dirichlet(np.ones(K), 5))
    edges = np.full((4, K), 1 / K)
    edges[1] = np.eye(K)[K - 1]
    edges[2] = np.eye(K)[[0, K - 1]].mean(axis=0)
    edges[3] = 0.2 * edges[0] + 0.8 * edges[2]
    return torch.from_numpy(np.concatenate([*drawn, edges]))


def cost(p: Tensor, floor: float = 0) -> Tensor:
    return (p.clamp(min=1e-12) + floor).log()


def optimum(p: Tensor, epsilon: float, floor: float = 0) -> float:
    """The least `Σ_i q_i log p_i`, or of log(p_i + floor), with variables q and u ≥ |q − p|."""
    K, top = len(p), int(p.argmax())
    eye, none = np.eye(K), np.zeros(K)
    behind_top = np.delete(eye - eye[top], top, axis=0)
    solved = linprog(
        np.concatenate([cost(p, floor).numpy(), none]),
        A_ub=np.block(
            [
                [eye, -eye],
                [-eye, -eye],
                [none, none + 1],
                [behind_top, np.zeros_like(behind_top)],
            ]
        ),
        b_ub=np.concatenate([p.numpy(), -p.numpy(), [epsilon + 1e-9], np.zeros(K - 1)]),
        A_eq=np.concatenate([none + 1, none])[None],
        b_eq=[1],
        bounds=(0, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert solved.success, solved.message
    return float(solved.fun)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("K", CLASSES)
def test_no_feasible_answer_is_better(K: int, epsilon: float) -> None:
    """Where the top class would be level with another and fall behind it, 0.1 % towards p are given up."""
    p = draw(K)
    for sample, answer in zip(p, Release("modelguard_w", {"epsilon": epsilon})(p), strict=True):
        least = optimum(sample, epsilon)
        if float(cost(sample) @ answer) <= least + CLOSE:
            continue
        best = (answer - 0.001 * sample) / 0.999
        assert float(cost(sample) @ best) == pytest.approx(least, abs=CLOSE)
        top = int(sample.argmax())
        others = torch.cat([best[:top], best[top + 1 :]])
        assert float(others.max()) == pytest.approx(float(best[top]), abs=1e-9)


@pytest.mark.parametrize("floor", [1e-6, 0.05])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1])
def test_with_a_floor_under_the_logarithm_no_feasible_answer_is_better(epsilon: float, floor: float) -> None:
    p = draw(5)[:30]
    answers = Release("modelguard_w", {"epsilon": epsilon, "floor": floor})(p)
    for sample, answer in zip(p, answers, strict=True):
        best = (answer - 0.001 * sample) / 0.999  # where a level top class was moved back towards p
        least = optimum(sample, epsilon, floor)
        assert min(abs(float(cost(sample, floor) @ q) - least) for q in (answer, best)) <= CLOSE
    if floor == 0.05 and epsilon > 0.1:
        assert not torch.allclose(answers, Release("modelguard_w", {"epsilon": epsilon})(p), atol=1e-3)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("K", [*CLASSES, 50])
def test_the_constraints_hold(K: int, epsilon: float) -> None:
    p = draw(K)
    answers = Release("modelguard_w", {"epsilon": epsilon})(p)
    assert (answers >= 0).all()
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(len(p), dtype=p.dtype), atol=1e-13, rtol=0)
    assert ((answers - p).abs().sum(dim=1) <= epsilon + 1e-13).all()
    assert torch.equal(answers.argmax(dim=1), p.argmax(dim=1))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("K", [*CLASSES, 50])
def test_single_precision_keeps_the_top_class(K: int, epsilon: float) -> None:
    p = draw(K).float()
    assert torch.equal(Release("modelguard_w", {"epsilon": epsilon})(p).argmax(dim=1), p.argmax(dim=1))


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_top_class_is_kept_however_little_it_is_ahead(dtype: torch.dtype, K: int, gap: float) -> None:
    p = ((1 - gap) / K + gap * torch.eye(K, dtype=torch.float64)).to(dtype)
    assert p.argmax(dim=1).tolist() == list(range(K))
    assert Release("modelguard_w", {"epsilon": 0.5})(p).argmax(dim=1).tolist() == list(range(K))


def test_a_known_answer() -> None:
    """A tenth of the mass goes from the likeliest class to the least likely one."""
    p = torch.tensor([[0.05, 0.6, 0.1, 0.25]], dtype=torch.float64)
    expected = torch.tensor([[0.15, 0.5, 0.1, 0.25]], dtype=torch.float64)
    found = Release("modelguard_w", {"epsilon": 0.2})(p)
    assert float((cost(p) * found).sum()) <= float((cost(p) * expected).sum()) + CLOSE
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_with_all_the_budget_the_least_likely_class_is_level_with_the_first() -> None:
    p = torch.tensor([[0.7, 0.25, 0.05], [0.05, 0.25, 0.7]], dtype=torch.float64)
    halves = torch.tensor([[0.5, 0, 0.5], [0.5, 0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(Release("modelguard_w", {"epsilon": 2})(p), halves, atol=1e-3, rtol=0)
