"""Closed forms of the attackers who undo a matrix: known, in the loss, or found out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS
from emma_tune.attacks.estimated import estimate_matrix
from emma_tune.attacks.inverse import undo
from emma_tune.attacks.lesson import Loot

UNIT = 2.0**-24
"""Half the distance from 1 to the next single: the relative error of rounding to one."""


def eye(K: int) -> Tensor:
    return torch.eye(K, dtype=torch.float64)


def dirichlet(N: int, K: int, concentration: float, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(K, concentration), N))


def matrices(K: int, seed: int = 0) -> dict[str, Tensor]:
    """Row-stochastic and invertible; all but `uniform` not symmetric."""
    drawn, cycle = dirichlet(K, K, 1.0, seed + 100), eye(K).roll(1, 1)
    return {
        "identity": eye(K),
        "dominant": 0.6 * eye(K) + 0.4 * drawn,
        "permuted": 0.3 * eye(K) + 0.7 * cycle,
        "permuted and blurred": 0.1 * eye(K) + 0.6 * cycle + 0.3 * drawn,
        "permuted wholly": cycle,
        "almost uniform": 0.15 * eye(K) + 0.85 / K,
    }


KINDS = tuple(matrices(3))


def nothing(K: int) -> tuple[Tensor, Tensor]:
    """No labeled images."""
    return torch.empty(0, K, dtype=torch.float64), torch.empty(0, dtype=torch.int64)


def l1(one: Tensor, other: Tensor) -> Tensor:
    """By row."""
    return (one.double() - other.double()).abs().sum(dim=1)


# --- inverse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [2, 3, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_who_knows_the_matrix_has_the_clean_answers(kind, K):
    T, p = matrices(K)[kind], torch.cat([dirichlet(40, K, 0.3), eye(K)])
    targets = ATTACKS["inverse"].learn(Loot(p @ T, *nothing(K), matrix=T)).targets
    assert targets.dtype == torch.float64
    assert float(l1(targets, p).max()) <= 1e-9


@pytest.mark.parametrize("K", [2, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_in_single_precision_no_more_is_lost_than_the_answers_were_rounded(kind, K):
    T, p = matrices(K)[kind].float(), torch.cat([dirichlet(40, K, 0.3), eye(K)])
    answers = (p @ T.double()).float()
    targets = ATTACKS["inverse"].learn(Loot(answers, *nothing(K), matrix=T)).targets
    assert targets.dtype == torch.float32
    # an answer is off by UNIT at most, which T's inverse magnifies; cutting off and renormalising double it each
    magnified = float(torch.linalg.inv(T.double()).abs().sum(dim=1).max())
    assert float(l1(targets, p).max()) <= (4 * magnified + 4) * UNIT + K * 1e-12


def test_what_no_clean_answer_can_have_become_is_cut_off_and_renormalized():
    T = torch.tensor([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)
    # p'T⁻¹ is (5p' − 1)/2 where p' sums to one
    answers = torch.tensor([[1.0, 0, 0], [0.7, 0.3, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    expected = torch.tensor([[1, 0, 0], [1.25 / 1.5, 0.25 / 1.5, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    torch.testing.assert_close(undo(answers, T), expected, rtol=0, atol=1e-11)


def test_of_classes_that_a_matrix_makes_one_each_gets_half():
    T = torch.tensor([[0.7, 0.3, 0], [0.7, 0.3, 0], [0, 0, 1]], dtype=torch.float64)
    p = dirichlet(20, 3, 1.0)
    shared = (p[:, :1] + p[:, 1:2]) / 2
    torch.testing.assert_close(undo(p @ T, T), torch.cat([shared, shared, p[:, 2:]], 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("K", [2, 7, 50])
def test_a_matrix_that_forgets_all_tells_nothing(K, dtype):
    T = torch.full((K, K), 1 / K, dtype=dtype)
    targets = undo(dirichlet(20, K, 0.3).to(dtype) @ T, T)
    torch.testing.assert_close(targets, torch.full_like(targets, 1 / K), rtol=0, atol=1e-5)


@pytest.mark.parametrize("least", [1e-7, 1e-9])
def test_a_matrix_of_full_rank_is_inverted_however_near_to_singular_it_is(least):
    T = (1 - least) / 2 * torch.ones(2, 2, dtype=torch.float64) + least * eye(2)
    answers, p = dirichlet(20, 2, 1.0) @ T, dirichlet(20, 2, 1.0)
    expected = (answers @ torch.linalg.pinv(T)).clamp(min=1e-12)
    assert torch.equal(undo(answers, T), expected / expected.sum(dim=1, keepdim=True))
    assert float(l1(undo(answers, T), p).max()) < 1e-4
    assert float(l1(undo(answers, T, low_rank=True), torch.full_like(p, 0.5)).max()) < 1e-6


# --- forward ----------------------------------------------------------------------------------------------


def forward(p: Tensor, T: Tensor):
    lesson = ATTACKS["forward"].learn(Loot(p @ T, *nothing(len(T)), matrix=T))
    return lambda logits: lesson.loss(logits, lesson.targets)


def slope(loss, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


@pytest.mark.parametrize("K", [2, 5, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_the_corrected_loss_is_what_is_written_there(kind, K):
    T, p = matrices(K)[kind], dirichlet(6, K, 1.0)
    logits = 2 * torch.from_numpy(np.random.default_rng(1).normal(size=(6, K)))
    total = 0.0
    for answer, row in zip((p @ T).tolist(), logits.tolist(), strict=True):
        q = [math.exp(f) / sum(map(math.exp, row)) for f in row]
        for j in range(K):
            total -= answer[j] * math.log(sum(q[i] * float(T[i, j]) for i in range(K))) / 6
    assert float(forward(p, T)(logits)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("K", [2, 5, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_the_corrected_loss_is_least_where_the_clone_answers_as_the_victim_does(kind, K):
    T, p = matrices(K)[kind], dirichlet(10, K, 1.0)
    loss, least = forward(p, T), p.log()
    entropy = -float(((p @ T) * (p @ T).log()).sum(dim=1).mean())
    assert float(loss(least)) == pytest.approx(entropy, rel=1e-12), "no cross-entropy is below that"
    assert float(slope(loss, least).abs().max()) < 1e-12
    chance = np.random.default_rng(2)
    for size in (0.01, 0.1, 1, 10):
        away = least + size * torch.from_numpy(chance.normal(size=(10, K)))
        assert float(loss(away)) > float(loss(least))
        assert float(slope(loss, away).abs().max()) > 1e-6 * size


@pytest.mark.parametrize("K", [3, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_who_descends_it_arrives_at_the_clean_answers(kind, K):
    T, p = matrices(K)[kind], dirichlet(8, K, 5.0)
    loss, logits = forward(p, T), torch.zeros(8, K, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [logits],
        max_iter=1000,
        max_eval=5000,
        tolerance_grad=1e-13,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        descent.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    descent.step(closure)
    assert float(l1(logits.detach().softmax(dim=1), p).max()) < 1e-5


def test_plain_steps_arrive_there_too():
    T, p = matrices(4)["permuted and blurred"], dirichlet(5, 4, 3.0)
    loss, logits = forward(p, T), torch.zeros(5, 4, dtype=torch.float64)
    for _ in range(3000):
        logits = logits - 20 * slope(loss, logits)
    assert float(l1(logits.softmax(dim=1), p).max()) < 1e-6


# --- estimated --------------------------------------------------------------------------------------------


def labeled(K: int, each: int = 5, sure: float = 0.8, seed: int = 7) -> tuple[Tensor, Tensor]:
    """Clean answers to labeled images, none of which gives its class less than `sure`; and the labels."""
    labels = torch.arange(K).repeat_interleave(each)
    return (1 - sure) * dirichlet(K * each, K, 0.5, seed) + sure * eye(K)[labels], labels


def stolen(p: Tensor, q: Tensor, labels: Tensor, T: Tensor) -> Loot:
    return Loot(p @ T, q @ T, labels, T)


def estimate(loot: Loot) -> Tensor:
    return estimate_matrix(loot.answers, loot.labeled_answers, loot.labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("K", [2, 3, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_where_a_sure_answer_of_each_class_is_among_them_the_matrix_is_found_exactly(kind, K, seed):
    T, p = matrices(K, seed)[kind], torch.cat([dirichlet(500, K, 0.5, seed), eye(K)])
    loot = stolen(p, *labeled(K, seed=seed), T)
    found = estimate(loot)
    assert found.dtype == torch.float64
    assert float(l1(found, T).max()) < 1e-12
    lesson = ATTACKS["estimated"].learn(loot)
    assert lesson.metrics["matrix_error"] < 1e-12
    assert float(l1(lesson.targets, p).max()) < 1e-9


MEASURED = {
    # K, concentration: mean and largest L1 error of a row, mean L1 error of the answers undone, of 3,000 queries
    (3, 0.3): (1e-4, 2e-4, 1e-4),
    (3, 0.05): (1e-12, 1e-12, 1e-10),
    (10, 0.3): (0.25, 0.4, 0.12),
    (10, 0.1): (5e-3, 2e-2, 3e-3),
    (10, 0.05): (3e-5, 2e-4, 2e-5),
}
"""Bounds; measured over five seeds and all matrices, at most: 1.3e-5, 2.1e-5, 1.7e-5 · 2.5e-16, 7e-16, 1e-12 ·
0.17, 0.29, 0.078 · 2.7e-3, 1.2e-2, 1.5e-3 · 9.6e-6, 7.9e-5, 6e-6."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("K", "concentration"), MEASURED)
@pytest.mark.parametrize("kind", KINDS)
def test_without_one_it_is_found_as_nearly_as_answers_are_sure(kind, K, concentration, seed):
    T, p, (q, labels) = matrices(K, seed)[kind], dirichlet(3000, K, concentration, seed), labeled(K, seed=seed)
    loot = stolen(p, q, labels, T)
    errors, lesson = l1(estimate(loot), T), ATTACKS["estimated"].learn(loot)
    mean, largest, undone = MEASURED[K, concentration]
    assert float(errors.mean()) < mean
    assert float(errors.max()) < largest
    assert float(l1(lesson.targets, p).mean()) < undone
    # pT is off T_k by 2(1 − p_k) at most: no worse than at the least sure of the surest answers
    doubt = 1 - float(torch.cat([p, q]).max(dim=0).values.min())
    assert float(errors.max()) <= 2.5 * doubt + 1e-12


@pytest.mark.parametrize("K", [3, 5])
def test_rows_are_ordered_by_labeled_images_whatever_the_order_of_rows_is(K):
    rows, p, (q, labels) = matrices(K)["dominant"], torch.cat([dirichlet(50, K, 0.5), eye(K)]), labeled(K)
    for order in list(itertools.permutations(range(K)))[:24]:
        T = rows[list(order)]
        assert float(l1(estimate(stolen(p, q, labels, T)), T).max()) < 1e-12


def test_the_labels_decide_and_not_their_order_or_number():
    K = 5
    T, p, (q, labels) = matrices(K)["permuted"], torch.cat([dirichlet(50, K, 0.5), eye(K)]), labeled(K, each=4)
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(labels)))
    uneven = order[(labels[order] != 2) | (order < 9)]  # of class 2 a single one
    assert (labels[uneven] == 2).sum() == 1
    for some in (order, uneven):
        assert float(l1(estimate(stolen(p, q[some], labels[some], T)), T).max()) < 1e-12
    renamed = estimate(stolen(p, q, (labels + 1) % K, T))
    assert float(l1(renamed, T.roll(1, 0)).max()) < 1e-12


def test_the_mean_of_a_class_decides_where_single_images_mislead():
    T, p = matrices(3)["permuted"], torch.cat([dirichlet(50, 3, 0.5), eye(3)])
    labels = torch.arange(3).repeat_interleave(5)
    q = 0.9 * eye(3)[labels] + 0.1 / 3
    q[::5] = q[::5].roll(1, 0)  # the first image of each class is taken for another
    q[4::5] = q[4::5].roll(-1, 0)  # and the last one
    assert float(l1(estimate(stolen(p, q, labels, T)), T).max()) < 1e-12


def test_surest_answers_may_be_those_to_the_labeled_images():
    T, labels = matrices(6)["permuted and blurred"], torch.arange(6)
    vague = 0.5 * dirichlet(200, 6, 0.5) + 0.5 / 6
    assert float(l1(estimate(stolen(vague, eye(6), labels, T)), T).max()) < 1e-12


@pytest.mark.parametrize("concentration", [0.1, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_queries_changes_nothing(kind, concentration):
    K = 10
    loot = stolen(dirichlet(500, K, concentration), *labeled(K), matrices(K)[kind])
    expected = ATTACKS["estimated"].learn(loot)
    for seed in range(3):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(500))
        shuffled = replace(loot, answers=loot.answers[order])
        assert torch.equal(estimate(shuffled), estimate(loot))
        lesson = ATTACKS["estimated"].learn(shuffled)
        assert lesson.metrics == expected.metrics
        torch.testing.assert_close(lesson.targets, expected.targets[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("K", [3, 10])
def test_rows_are_answers_that_were_given_each_once(K, concentration):
    loot = stolen(dirichlet(300, K, concentration), *labeled(K, sure=0.3), matrices(K)["permuted and blurred"])
    found = estimate(loot)
    given = torch.cat([loot.answers, loot.labeled_answers])
    places = [[i for i in range(len(given)) if torch.equal(given[i], row)] for row in found]
    assert all(len(place) == 1 for place in places)
    assert len({place[0] for place in places}) == K


def test_vertices_are_those_of_successive_projection():
    # lengths 0.9 and 0.85 in one direction, 0.6 in another: the second longest is no vertex
    answers = torch.tensor([[0.9, 0.1, 0], [0.85, 0.15, 0], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]], dtype=torch.float64)
    q, labels = answers[[0, 2, 3]], torch.arange(3)
    assert estimate_matrix(answers, q, labels).tolist() == answers[[0, 2, 3]].tolist()


def test_a_class_without_a_labeled_image_gets_the_row_that_the_others_leave():
    K = 5
    for kind, missing in itertools.product(KINDS, range(K)):
        T, p, (q, labels) = matrices(K)[kind], torch.cat([dirichlet(50, K, 0.5), eye(K)]), labeled(K, sure=0.9)
        there = labels != missing
        assert float(l1(estimate(stolen(p, q[there], labels[there], T)), T).max()) < 1e-12, (kind, missing)


def test_a_class_without_a_labeled_image_takes_no_row_from_another_that_is_known():
    T = torch.tensor([[1, 0, 0], [0.5, 0.25, 0.25], [0, 0, 1]], dtype=torch.float64)
    labels = torch.tensor([1, 2])  # the answers to which are the rows of T themselves
    assert estimate_matrix(T, T[labels], labels).tolist() == T.tolist()


def test_the_error_of_an_estimate_is_the_mean_over_rows_of_their_distances():
    p, (q, labels) = torch.cat([dirichlet(50, 3, 0.5), eye(3)]), labeled(3)
    T, other = matrices(3)["dominant"], matrices(3)["permuted"]
    lesson = ATTACKS["estimated"].learn(replace(stolen(p, q, labels, T), matrix=other))
    distances = [sum(abs(float(T[k, j] - other[k, j])) for j in range(3)) for k in range(3)]
    assert lesson.metrics == {"matrix_error": pytest.approx(sum(distances) / 3, abs=1e-12)}
    opposite = replace(stolen(p, q, labels, eye(3)), matrix=eye(3).roll(1, 0))
    assert ATTACKS["estimated"].learn(opposite).metrics == {"matrix_error": pytest.approx(2, abs=1e-12)}


def test_where_there_is_no_matrix_there_is_no_error():
    loot = stolen(dirichlet(50, 3, 0.5), *labeled(3), matrices(3)["dominant"])
    assert ATTACKS["estimated"].learn(replace(loot, matrix=None)).metrics == {}


def test_in_single_precision_the_estimate_is_as_good_as_the_answers():
    K = 10
    T, p = matrices(K)["permuted and blurred"], torch.cat([dirichlet(500, K, 0.5), eye(K)])
    exact = stolen(p, *labeled(K), T)
    loot = Loot(exact.answers.float(), exact.labeled_answers.float(), exact.labels, T.float())
    lesson = ATTACKS["estimated"].learn(loot)
    assert lesson.metrics["matrix_error"] < 4 * UNIT
    magnified = float(torch.linalg.inv(T).abs().sum(dim=1).max())
    assert float(l1(lesson.targets, p).max()) < (8 * magnified + 4) * UNIT


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_of_a_matrix_of_low_rank_rounding_errors_are_no_singular_values(rank: int) -> None:
    """The pseudo-inverse of T = AB in single precision is that of exact factors, `B⁺A⁺`."""
    chance = torch.Generator().manual_seed(rank)
    A, B = (torch.rand(*shape, generator=chance, dtype=torch.float64) for shape in ((10, rank), (rank, 10)))
    A, B = A / A.sum(dim=1, keepdim=True), B / B.sum(dim=1, keepdim=True)
    p = torch.rand(50, 10, generator=chance, dtype=torch.float64).pow(4)
    p = p / p.sum(dim=1, keepdim=True)
    expected = (p @ A @ torch.linalg.pinv(A)).clamp(min=1e-12)
    found = undo((p @ A @ B).float(), (A @ B).float(), low_rank=True)
    torch.testing.assert_close(found.double(), expected / expected.sum(dim=1, keepdim=True), rtol=1e-3, atol=1e-4)
