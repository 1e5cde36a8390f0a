"""Baselines that are one line of arithmetic do what that line says; chance is as it should be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from emma_tune.defenses import control_matrix
from emma_tune.defenses.noise import normal, uniform
from emma_tune.defenses.release import Release
from emma_tune.defenses.simplex import normalized

K = 5


def draw(count: int = 30, classes: int = K) -> Tensor:
    """Posteriors, some one-hot, some without their first class, (count, classes) float64."""
    chance = torch.Generator().manual_seed(classes)
    p = torch.randn(count, classes, generator=chance, dtype=torch.float64).mul(2).softmax(dim=1)
    p[::4, 0] = 0
    p[::7] = torch.eye(classes, dtype=torch.float64)[p[::7].argmax(dim=1)]
    return p / p.sum(dim=1, keepdim=True)


def first_largest(row: list[float]) -> int:
    return row.index(max(row))


def divided(row: list[float], top: int) -> list[float]:
    """By their sum; where nothing is left, the top class alone."""
    total = sum(row)
    return [entry / total for entry in row] if total else [float(k == top) for k in range(len(row))]


@pytest.mark.parametrize("gamma", [0.2, 1])
@pytest.mark.parametrize("beta", [0, 0.1, 0.8, 2])
def test_reverse_sigmoid_is_its_formula(beta: float, gamma: float) -> None:
    p = draw()
    answers = Release("reverse_sigmoid", {"beta": beta, "gamma": gamma})(p)
    for row, found in zip(p.tolist(), answers.tolist(), strict=True):
        inside = [min(max(x, 1e-12), 1 - 1e-12) for x in row]
        logits = [math.log(x / (1 - x)) for x in inside]
        perturbed = [x - beta * (1 / (1 + math.exp(-gamma * z)) - 0.5) for x, z in zip(row, logits, strict=True)]
        expected = divided([max(x, 0) for x in perturbed], first_largest(row))
        assert found == pytest.approx(expected, abs=1e-12)


def test_reverse_sigmoid_is_not_monotonic() -> None:
    p = torch.tensor([[0.999, 0.0009, 0.0001]], dtype=torch.float64)
    found = Release("reverse_sigmoid", {"beta": 0.8, "gamma": 0.2})(p)[0]
    assert found[2] > found[1]


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
def test_rounding_is_pythons(decimals: int) -> None:
    p = draw()
    answers = Release("rounding", {"decimals": decimals})(p)
    for row, found in zip(p.tolist(), answers.tolist(), strict=True):
        expected = divided([round(x, decimals) for x in row], first_largest(row))
        assert found == pytest.approx(expected, abs=1e-14)


def test_where_rounding_leaves_nothing_the_first_top_class_is_released() -> None:
    p = torch.tensor([[0.2, 0.4, 0.4], [0.3, 0.3, 0.4], [0.5, 0.5, 0.0]])
    assert Release("rounding", {"decimals": 0})(p).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("k", [1, 2, 3.0, 4, 5, 9])
def test_top_k_keeps_the_k_largest(k: float) -> None:
    tied = torch.tensor([[1 / K] * K, [0.1, 0.3, 0.1, 0.2, 0.3]], dtype=torch.float64)
    p = torch.cat([draw(), tied])
    answers = Release("top_k", {"k": k})(p)
    for row, found in zip(p.tolist(), answers.tolist(), strict=True):
        kept = sorted(range(K), key=lambda i: (-row[i], i))[: int(k)]
        expected = divided([x if i in kept else 0 for i, x in enumerate(row)], first_largest(row))
        assert found == pytest.approx(expected, abs=1e-14)
    if k >= K:
        assert torch.equal(answers, p)


@pytest.mark.parametrize("epsilon", [0.25, 1, 2])
@pytest.mark.parametrize("classes", [2, 5])
def test_random_mix_is_its_formula_with_a_class_that_is_not_the_top_one(classes: int, epsilon: float) -> None:
    p = draw(200, classes)
    answers = Release("random_mix", {"epsilon": epsilon})(p, seeds=torch.arange(200))
    for row, found in zip(p.tolist(), answers.tolist(), strict=True):
        added = [y - (1 - epsilon / 2) * x for x, y in zip(row, found, strict=True)]
        other = first_largest(added)
        assert added == pytest.approx([epsilon / 2 * (k == other) for k in range(classes)], abs=1e-14)
        assert other != first_largest(row)
        distance = sum(abs(y - x) for x, y in zip(row, found, strict=True))
        assert distance == pytest.approx(epsilon * (1 - row[other]), abs=1e-14)


@pytest.mark.parametrize("top", range(K))
def test_every_other_class_is_mixed_in_about_equally_often(top: int) -> None:
    p = torch.eye(K)[top].expand(4000, K)
    share = Release("random_mix", {"epsilon": 2})(p, seeds=torch.arange(4000)).mean(dim=0).tolist()
    assert share[top] == 0
    # 0.25 each, with a deviation of 0.007
    assert share[:top] + share[top + 1 :] == pytest.approx([0.25] * (K - 1), abs=0.03)


@pytest.mark.parametrize("sigma", [0, 0.05, 0.5, 5])
def test_gaussian_is_its_formula_under_the_noise_of_each_seed(sigma: float) -> None:
    p, seeds = draw(), 1000 + torch.arange(30)
    answers = Release("gaussian", {"sigma": sigma})(p, seeds=seeds)
    for row, noise, found in zip(p.tolist(), normal(seeds, K).tolist(), answers.tolist(), strict=True):
        noisy = [max(x + sigma * z, 0) for x, z in zip(row, noise, strict=True)]
        assert found == pytest.approx(divided(noisy, first_largest(row)), abs=1e-13)


@pytest.mark.parametrize("sigma", [1e-4, 1e-3])
def test_gaussian_noise_has_the_size_that_was_asked_for(sigma: float) -> None:
    """Divided by its sum, `p_i + σ(z_i − p_i Σ_j z_j)` for a small σ: its variance σ²(1 − 2p_i + K p_i²)."""
    p = torch.tensor([0.1, 0.15, 0.2, 0.25, 0.3], dtype=torch.float64)
    answers = Release("gaussian", {"sigma": sigma})(p.expand(8000, K), seeds=torch.arange(8000))
    moved = (answers - p) / sigma
    assert moved.mean(dim=0).abs().max() < 0.05  # a deviation of 0.011, and some σ
    torch.testing.assert_close(moved.var(dim=0), 1 - 2 * p + K * p.square(), rtol=0.07, atol=0)


def test_noise_is_standard_normal_and_independent_from_class_to_class_and_seed_to_seed() -> None:
    drawn = normal(torch.arange(8000), 3)
    assert drawn.shape == (8000, 3)
    assert drawn.dtype == torch.float64
    assert drawn.mean(dim=0).abs().max() < 0.05
    assert (drawn.std(dim=0) - 1).abs().max() < 0.04
    assert (drawn.pow(4).mean(dim=0) - 3).abs().max() < 0.5
    beside = torch.cat([drawn[1:], drawn[:-1]], dim=1)  # of one seed and of the next
    assert (torch.corrcoef(beside.T) - torch.eye(6)).abs().max() < 0.05


def test_numbers_are_uniform_and_independent_from_seed_to_seed() -> None:
    drawn = uniform(torch.arange(8000))
    assert drawn.shape == (8000,)
    counts = torch.histc(drawn, 10, 0, 1)
    assert (counts - 800).abs().max() < 120
    assert abs(float(torch.corrcoef(torch.stack([drawn[1:], drawn[:-1]]))[0, 1])) < 0.05


def test_a_querys_noise_depends_on_nothing_but_its_seed() -> None:
    seeds = torch.tensor([5, 2**63 - 1, 7, 5, 0])
    for drawn in (normal(seeds, K), uniform(seeds)[:, None]):
        assert torch.equal(drawn[0], drawn[3])
        assert len({tuple(row) for row in drawn.tolist()}) == 4
    for row, seed in enumerate(seeds.tolist()):
        alone = torch.tensor([seed])
        assert torch.equal(normal(alone, K)[0], normal(seeds, K)[row])
        assert torch.equal(uniform(alone)[0], uniform(seeds)[row])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scores_are_divided_by_their_sum_and_the_top_class_stands_where_there_are_none(dtype: torch.dtype) -> None:
    scores = torch.tensor([[0, 3, 1], [0, 0, 0], [0, 0, 0], [1e-30, 0, 1e-30]], dtype=dtype)
    p = torch.tensor([[1, 0, 0], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2], [0, 1, 0]], dtype=dtype)
    expected = torch.tensor([[0, 0.75, 0.25], [0, 0, 1], [1, 0, 0], [0.5, 0, 0.5]], dtype=dtype)
    torch.testing.assert_close(normalized(scores, p), expected)


@pytest.mark.parametrize("a", [0, 0.25, 1])
def test_uniform_blurs_every_class_alike(a: float) -> None:
    T = control_matrix("uniform", {"a": a}, 4, seed=0).tolist()
    for k, row in enumerate(T):
        assert row == pytest.approx([a / 4 + (1 - a) * (k == j) for j in range(4)])


@pytest.mark.parametrize("classes", [2, 3, 10, 50])
@pytest.mark.parametrize("seed", range(5))
def test_a_permutation_leaves_no_class_in_its_place_and_is_one_cycle(seed: int, classes: int) -> None:
    T = control_matrix("permutation", {"a": 0.25}, classes, seed=seed)
    P = (T - 0.75 * torch.eye(classes)) / 0.25
    assert P.sum(dim=0).tolist() == P.sum(dim=1).tolist() == [1] * classes
    assert set(P.flatten().tolist()) == {0, 1}
    assert P.trace() == 0
    visited, place = [0], int(P[0].argmax())
    while place:
        visited.append(place)
        place = int(P[place].argmax())
    assert sorted(visited) == list(range(classes))


def test_every_cycle_of_four_classes_is_drawn_about_equally_often() -> None:
    drawn = [control_matrix("permutation", {"a": 1}, 4, seed=seed).argmax(dim=1) for seed in range(1200)]
    counts = {
        to: [tuple(cycle.tolist()) for cycle in drawn].count(to) for to in {tuple(c.tolist()) for c in drawn}
    }
    assert len(counts) == 6  # 3!
    assert all(140 < count < 260 for count in counts.values())


@pytest.mark.parametrize("classes", [3, 6])
def test_the_rest_of_a_random_row_is_uniform_on_the_simplex(classes: int) -> None:
    """Shares of n = K−1 classes: mean 1/n, variance (n−1)/(n²(n+1))."""
    a, n = 0.5, classes - 1
    drawn = torch.stack([control_matrix("random_matrix", {"a": a}, classes, seed=s) for s in range(1000)])
    assert (drawn.diagonal(dim1=1, dim2=2) == 1 - a).all()
    off = ~torch.eye(classes, dtype=torch.bool)
    shares = drawn[:, off] / a
    torch.testing.assert_close(shares.mean(dim=0), torch.full((classes * n,), 1 / n), rtol=0.12, atol=0)
    variance = (n - 1) / (n**2 * (n + 1))
    assert float(shares.var(dim=0).mean()) == pytest.approx(variance, rel=0.06)
