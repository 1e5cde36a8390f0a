"""How attackers in rounds choose and make their queries, and FixMatch's loss: against closed forms and by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks import ATTACKS
from emma_tune.attacks.choosing import k_center
from emma_tune.attacks.choosing.deepfool import boundary_distances
from emma_tune.attacks.choosing.entropy import most_uncertain
from emma_tune.attacks.choosing.k_center import farthest
from emma_tune.attacks.jacobian import towards
from emma_tune.attacks.semi import consistent


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distributions(count: int, classes: int = 4, seed: int = 1) -> Tensor:
    return (2 * torch.randn(count, classes, generator=chance(seed), dtype=torch.float64)).softmax(dim=1)


# --- entropy ----------------------------------------------------------------------------------------------


def test_the_most_uncertain_come_first_and_of_equal_ones_the_first():
    rows = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.5, 0.5], [0.9, 0.1, 0.0]]
    assert most_uncertain(torch.tensor(rows), 5).tolist() == [2, 1, 3, 4, 0]
    assert most_uncertain(torch.tensor(rows), 2).tolist() == [2, 1]


def test_entropy_is_that_of_the_definition():
    p = distributions(50)
    entropies = [-sum(x * math.log(x) for x in row) for row in p.tolist()]
    assert most_uncertain(p, 50).tolist() == sorted(range(50), key=lambda row: -entropies[row])


# --- k-center ---------------------------------------------------------------------------------------------


def greedily(points: list[list[float]], centers: list[list[float]], count: int) -> list[int]:
    """Choose by looking at all pairs each time."""
    chosen: list[int] = []
    for _ in range(count):
        left = [row for row in range(len(points)) if row not in chosen]
        near = {
            row: min(math.dist(points[row], c) for c in [*centers, *(points[i] for i in chosen)]) for row in left
        }
        chosen.append(max(left, key=lambda row: (near[row], -row)))
    return chosen


@pytest.mark.parametrize(("count", "centers"), [(1, 1), (6, 1), (9, 4), (20, 3)])
def test_k_center_is_greedy_over_all_pairs(count, centers):
    points, known = distributions(20, seed=count), distributions(centers, seed=9)
    assert farthest(points, known, count).tolist() == greedily(points.tolist(), known.tolist(), count)


def test_k_center_compares_many_candidates_in_blocks():
    points, known = distributions(2 * k_center.BLOCK + 9, seed=5), distributions(3, seed=6)
    assert farthest(points, known, 4).tolist() == greedily(points.tolist(), known.tolist(), 4)


def test_k_center_covers_at_most_twice_as_wide_as_the_best_choice():
    points, known = distributions(9, seed=3), distributions(1, seed=4)

    def radius(rows: tuple[int, ...] | list[int]) -> float:
        return float(torch.cdist(points, torch.cat([known, points[list(rows)]])).amin(dim=1).max())

    best = min(radius(rows) for rows in itertools.combinations(range(9), 3))
    assert radius(farthest(points, known, 3).tolist()) <= 2 * best


def test_k_center_chooses_each_row_once_also_where_rows_are_equal():
    same = torch.full((5, 3), 1 / 3)
    assert farthest(same, same[:1], 5).tolist() == [0, 1, 2, 3, 4]


# --- DeepFool ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_distance_to_a_boundary_of_a_linear_classifier_is_exact(classes):
    W = torch.randn(classes, 12, generator=chance(1), dtype=torch.float64)
    b = torch.randn(classes, generator=chance(2), dtype=torch.float64)
    x = torch.randn(30, 3, 2, 2, generator=chance(3), dtype=torch.float64)
    found = boundary_distances(lambda points: points.flatten(1) @ W.T + b, x)
    for point, distance in zip(x.flatten(1), found.tolist(), strict=True):
        f = W @ point + b
        own = int(f.argmax())
        others = [k for k in range(classes) if k != own]
        exact = min(float((f[own] - f[k]) / (W[own] - W[k]).norm()) for k in others)
        assert distance == pytest.approx(exact, rel=1e-9)


def test_of_many_classes_only_the_nearest_ten_are_looked_at():
    W = torch.randn(40, 12, generator=chance(1), dtype=torch.float64)
    x = torch.randn(8, 12, generator=chance(3), dtype=torch.float64)
    found = boundary_distances(lambda points: points @ W.T, x)
    for point, distance in zip(x, found.tolist(), strict=True):
        own, *others = (W @ point).argsort(descending=True).tolist()[:10]
        exact = min(float((W[own] - W[k]) @ point / (W[own] - W[k]).norm()) for k in others)
        assert distance == pytest.approx(exact, rel=1e-9)


def test_a_curved_boundary_is_found_and_a_classifier_without_slope_is_left_alone():
    x = torch.tensor([[0.95, 0.0], [0.0, 3.0]], dtype=torch.float64)

    def in_a_circle(points: Tensor) -> Tensor:
        r = points.pow(2).sum(dim=1)
        return torch.stack([1 - r, r - 1], dim=1)

    assert boundary_distances(in_a_circle, x).tolist() == pytest.approx([0.05, 2.0], rel=0.05)
    flat = boundary_distances(lambda points: 0 * points + torch.tensor([1.0, 0.0], dtype=torch.float64), x)
    assert flat.tolist() == [0.0, 0.0]


# --- JBDA -------------------------------------------------------------------------------------------------


def test_the_step_of_a_linear_classifier_is_the_sign_of_its_weights_against_their_mean():
    K, W = 4, torch.randn(4, 12, generator=chance(1), dtype=torch.float64)
    x = torch.rand(9, 3, 2, 2, generator=chance(2), dtype=torch.float64)
    classes = torch.arange(9) % K
    moved = towards(lambda points: points.flatten(1) @ W.T, x, classes, 0.1)
    for before, after, k in zip(x.flatten(1), moved.flatten(1), classes.tolist(), strict=True):
        gradient = (W @ before).softmax(dim=0) @ W - W[k]  # of −log softmax_k
        torch.testing.assert_close(after, (before - 0.1 * gradient.sign()).clamp(0, 1))


def test_a_step_goes_towards_its_class_and_stays_among_images():
    W = torch.randn(3, 16, generator=chance(1))
    x = torch.rand(20, 1, 4, 4, generator=chance(2))
    classes = torch.randint(3, (20,), generator=chance(3))

    def logits(points: Tensor) -> Tensor:
        return points.flatten(1) @ W.T

    before, after = (F.cross_entropy(logits(p), classes) for p in (x, towards(logits, x, classes, 0.1)))
    assert after < before
    wide = towards(logits, x, classes, 1.0)
    assert wide.min() >= 0
    assert wide.max() <= 1
    assert set(wide.unique().tolist()) <= {0.0, 1.0, *x.unique().tolist()}


# --- FixMatch ---------------------------------------------------------------------------------------------


def test_only_sure_labels_are_taught_and_the_mean_is_over_all_unanswered_images():
    targets = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    answered = torch.tensor([[1.0, 0.0], [0.5, -0.5]])
    sure, unsure = math.log(0.96 / 0.04), math.log(0.94 / 0.06)
    weak = torch.tensor([[sure, 0.0], [unsure, 0.0], [0.0, sure], [0.0, 0.0]])
    strong = torch.tensor([[0.2, 0.1], [5.0, -5.0], [0.3, 0.8], [9.0, 0.0]])

    def ce(row: list[float], target: list[float]) -> float:
        partition = math.log(sum(map(math.exp, row)))
        return -sum(t * (f - partition) for t, f in zip(target, row, strict=True))

    own = sum(map(ce, answered.tolist(), targets.tolist())) / 2
    taught = (ce([0.2, 0.1], [1, 0]) + ce([0.3, 0.8], [0, 1])) / 4
    loss = consistent(torch.cat([answered, weak, strong]), targets)
    assert float(loss) == pytest.approx(own + taught, rel=1e-6)


def test_the_weak_views_learn_nothing_from_their_own_labels():
    logits = torch.randn(10, 3, generator=chance(1)) * 9
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(consistent(logits, torch.eye(3)[:2]), logits)
    assert not gradient[2:6].any()
    assert gradient[6:].any()


def test_without_unanswered_images_it_is_the_cross_entropy():
    logits = torch.randn(5, 3, generator=chance(1))
    assert torch.equal(
        consistent(logits, torch.eye(3)[[0, 1, 2, 0, 1]]), F.cross_entropy(logits, torch.eye(3)[[0, 1, 2, 0, 1]])
    )


# --- how many answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "queries", "rounds", "few", "expected"),
    [
        ("soft", 100, 1, 15, [100]),
        ("active", 100, 10, 15, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ("active", 7, 3, 15, [2, 4, 7]),
        ("active", 5, 10, 15, [2, 3, 4, 5]),
        ("jacobian", 4800, 6, 150, [150, 300, 600, 1200, 2400, 4800]),
        ("jacobian", 1000, 6, 150, [150, 300, 600, 1000]),
        ("jacobian", 100, 6, 150, [100]),
        ("semi", 100, 1, 15, [100]),
    ],
)
def test_answers_by_round_grow_to_what_may_be_asked(kind, queries, rounds, few, expected):
    assert ATTACKS[kind].by_round(queries, rounds=rounds, few=few) == expected


def test_an_attacker_says_how_many_answers_it_asks():
    asked = {kind: of.asked(100, rounds=of.rounds, few=15, views=4) for kind, of in ATTACKS.items()}
    assert asked["soft"] == asked["hard"] == asked["active"] == asked["semi"] == 100
    assert asked["smoothed"] == asked["average"] == 400
    assert asked["estimated"] == 115
    assert asked["jacobian"] == 100  # the labeled images among them
