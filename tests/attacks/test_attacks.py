"""What every attacker makes of the answers, also of answers that are hardly any."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS, attack_of, kinds_with, targets
from emma_tune.attacks.lesson import Lesson, Loot
from emma_tune.defenses.release import Release

pytestmark = pytest.mark.usefixtures("quick_attacks")

DTYPES = [torch.float32, torch.float64]
K = 7


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def answers_of(count: int, classes: int = K, seed: int = 1) -> Tensor:
    return (3 * torch.randn(count, classes, generator=chance(seed), dtype=torch.float64)).softmax(dim=1)


def matrix_of(classes: int = K) -> Tensor:
    """Row-stochastic, invertible, not symmetric."""
    rows = torch.rand(classes, classes, generator=chance(3), dtype=torch.float64)
    return 0.6 * torch.eye(classes, dtype=torch.float64) + 0.4 * rows / rows.sum(dim=1, keepdim=True)


def labeled_of(classes: int = K, each: int = 5) -> tuple[Tensor, Tensor]:
    """Answers to a number of images of each class, most of them confident, and their labels."""
    labels = torch.arange(classes).repeat(each)
    sure = torch.eye(classes, dtype=torch.float64)[labels]
    return 0.1 * answers_of(len(labels), classes, seed=2) + 0.9 * sure, labels


def loot_of(answers: Tensor, each: int = 5, matrix: Tensor | None = None) -> Loot:
    classes = answers.shape[1]
    T = matrix_of(classes) if matrix is None else matrix
    labeled, labels = labeled_of(classes, each)
    return Loot(answers, labeled @ T, labels, T, Release("emma", {}, T))


def of_type(loot: Loot, dtype: torch.dtype) -> Loot:
    assert loot.matrix is not None
    matrix = loot.matrix.to(dtype)
    answers = loot.answers.to(dtype), loot.labeled_answers.to(dtype)
    return Loot(*answers, loot.labels, matrix, Release("emma", {}, matrix))


def without_class(loot: Loot, missing: int) -> Loot:
    there = loot.labels != missing
    return replace(loot, labeled_answers=loot.labeled_answers[there], labels=loot.labels[there])


RANK_ONE = torch.full((K, K), 1 / K, dtype=torch.float64)
FEW = answers_of(2)[torch.arange(20) % 2]
LOOTS = {
    "as it should be": loot_of(answers_of(50) @ matrix_of()),
    "two classes": loot_of(answers_of(40, 2)),
    "fifty classes": loot_of(answers_of(120, 50)),
    "a single query": loot_of(answers_of(1)),
    "one-hot": loot_of(torch.eye(K, dtype=torch.float64)[torch.arange(30) % K]),
    "one-hot, a class never": loot_of(torch.eye(K, dtype=torch.float64)[torch.arange(30) % (K - 1)], each=0),
    "uniform": loot_of(torch.full((20, K), 1 / K, dtype=torch.float64), each=0),
    "no labeled images": loot_of(answers_of(50), each=0),
    "a class without a labeled image": without_class(loot_of(answers_of(50)), 3),
    "fewer different answers than classes": loot_of(FEW, each=0),
    "nothing but zeros in a class": loot_of(torch.nn.functional.pad(answers_of(20, K - 1), (0, 1)), each=0),
    "a matrix that forgets all": loot_of(answers_of(20) @ RANK_ONE, matrix=RANK_ONE),
    "the identity": loot_of(answers_of(20), matrix=torch.eye(K, dtype=torch.float64)),
}

UNDECIDED = {"one-hot, a class never", "fewer different answers than classes"}
"""Too few different answers to be the rows of T, and no labels to say which ones they are."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", ATTACKS)
def test_every_clone_is_trained_on_distributions_of_the_shape_and_type_of_the_answers(kind, case, dtype):
    loot = of_type(LOOTS[case], dtype)
    before = [tensor.clone() for tensor in (loot.answers, loot.labeled_answers, loot.labels, loot.matrix)]
    lesson = ATTACKS[kind].learn(loot)
    assert lesson.targets.shape == loot.answers.shape
    assert lesson.targets.dtype == dtype
    assert (lesson.targets >= 0).all()
    torch.testing.assert_close(lesson.targets.sum(dim=1), torch.ones(len(loot.answers), dtype=dtype))
    assert all(type(value) is float and math.isfinite(value) for value in lesson.metrics.values())
    after = (loot.answers, loot.labeled_answers, loot.labels, loot.matrix)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True)), "loot is not written to"


@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", ATTACKS)
def test_equal_answers_become_equal_targets(kind, case):
    loot = LOOTS[case]
    twice = replace(loot, answers=torch.cat([loot.answers, loot.answers]))
    first, second = ATTACKS[kind].learn(twice).targets.chunk(2)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind in ATTACKS for case in LOOTS if kind != "estimated" or case not in UNDECIDED],
)
def test_every_attacker_keeps_the_order_of_the_queries(kind, case):
    loot = LOOTS[case]
    order = torch.randperm(len(loot.answers), generator=chance(2))
    shuffled = ATTACKS[kind].learn(replace(loot, answers=loot.answers[order])).targets
    torch.testing.assert_close(shuffled, ATTACKS[kind].learn(loot).targets[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("other", targets())
@pytest.mark.parametrize("kind", kinds_with("targets"))
def test_an_attacker_can_train_on_what_any_other_makes_of_its_answers(kind, other):
    loot = LOOTS["as it should be"]
    expected, lesson = ATTACKS[other].learn(loot), attack_of(kind, other).learn(loot)
    assert torch.equal(lesson.targets, expected.targets)
    assert (lesson.rows is None) is (expected.rows is None)
    assert lesson.metrics == expected.metrics
    logits = answers_of(len(loot.answers), seed=4).log()
    assert torch.equal(lesson.loss(logits, lesson.targets), expected.loss(logits, expected.targets))


# --- losses -----------------------------------------------------------------------------------------------


def loss_and_gradient(lesson: Lesson, logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    loss = lesson.loss(logits, lesson.targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def extremes(count: int, classes: int, dtype: torch.dtype) -> dict[str, Tensor]:
    normal = torch.randn(count, classes, generator=chance(4)).to(dtype)
    return {
        "drawn": normal,
        "zero": torch.zeros_like(normal),
        "sure of the first class": torch.eye(classes, dtype=dtype)[torch.zeros(count, dtype=torch.int64)] * 1e4,
        "sure of the last class": torch.eye(classes, dtype=dtype)[torch.full((count,), -1)] * 1e4,
        "ten thousands": normal * 1e4,
        "larger than a square of them can be": normal * 1e30,
        "all very negative": torch.full_like(normal, -1e30),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", ATTACKS)
def test_every_loss_is_finite_and_so_is_its_gradient_whatever_the_logits_are(kind, case, dtype):
    lesson = ATTACKS[kind].learn(of_type(LOOTS[case], dtype))
    for name, logits in extremes(*lesson.targets.shape, dtype).items():
        loss, gradient = loss_and_gradient(lesson, logits)
        assert loss.shape == ()
        assert loss.dtype == dtype
        assert loss.isfinite(), name
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize("kind", ATTACKS)
def test_every_loss_is_a_mean_over_the_batch(kind):
    lesson = ATTACKS[kind].learn(LOOTS["as it should be"])
    logits = torch.randn(50, K, generator=chance(5), dtype=torch.float64)
    each = [float(lesson.loss(logits[i : i + 1], lesson.targets[i : i + 1])) for i in range(50)]
    assert float(lesson.loss(logits, lesson.targets)) == pytest.approx(sum(each) / 50, rel=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in ATTACKS if kind != "forward"])
def test_all_attackers_but_one_train_with_cross_entropy_on_their_targets(kind):
    lesson = ATTACKS[kind].learn(LOOTS["as it should be"])
    logits = torch.randn(50, K, generator=chance(5), dtype=torch.float64)
    total = 0.0
    for row, target in zip(logits.tolist(), lesson.targets.tolist(), strict=True):
        partition = math.log(sum(map(math.exp, row)))
        total -= sum(t * (f - partition) for t, f in zip(target, row, strict=True))
    assert float(lesson.loss(logits, lesson.targets)) == pytest.approx(total / 50, rel=1e-12)


# --- what an attacker knows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ATTACKS)
def test_every_attacker_says_what_it_knows(kind):
    attack = ATTACKS[kind]
    assert attack.knows.startswith("the answers")
    assert bool(re.search(r"\bT\b", attack.knows)) == attack.needs_matrix
    assert ("views" in attack.knows) == (attack.asks == "views")


@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS.items() if not attack.needs_matrix])
def test_who_is_not_said_to_know_the_matrix_does_not_look_at_it(kind, case):
    loot = LOOTS[case]
    expected = ATTACKS[kind].learn(loot).targets
    for matrix in (None, torch.eye(loot.answers.shape[1]).flip(0)):
        assert torch.equal(ATTACKS[kind].learn(replace(loot, matrix=matrix)).targets, expected)


@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS.items() if not attack.knows_defense])
def test_who_is_not_said_to_know_the_defense_does_not_look_at_it(kind):
    loot = LOOTS["as it should be"]
    known = replace(loot, release=None, guidance=loot.answers.flip(1))
    assert torch.equal(ATTACKS[kind].learn(known).targets, ATTACKS[kind].learn(loot).targets)


@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS.items() if attack.knows_defense == "all"])
def test_who_knows_the_defense_refuses_to_go_without(kind):
    with pytest.raises(AssertionError, match="that know the defense only"):
        ATTACKS[kind].learn(replace(LOOTS["as it should be"], release=None))


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_same_loot_is_the_same_lesson(kind):
    one, other = (ATTACKS[kind].learn(LOOTS["as it should be"]) for _ in range(2))
    assert torch.equal(one.targets, other.targets)
    assert one.metrics == other.metrics


@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", ATTACKS)
def test_some_rows_are_left_to_train_on_each_once_and_in_order(kind, case):
    rows = ATTACKS[kind].learn(LOOTS[case]).rows
    if rows is not None:
        assert rows.dtype == torch.int64
        assert 0 < len(rows) <= len(LOOTS[case].answers)
        assert rows.tolist() == sorted(set(rows.tolist()) & set(range(len(LOOTS[case].answers))))


@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS.items() if "labeled" not in attack.knows])
def test_who_is_not_said_to_have_labeled_images_does_not_look_at_them(kind):
    loot = LOOTS["as it should be"]
    without = replace(loot, labeled_answers=loot.labeled_answers[:0], labels=loot.labels[:0])
    assert torch.equal(ATTACKS[kind].learn(without).targets, ATTACKS[kind].learn(loot).targets)


@pytest.mark.parametrize("kind", [kind for kind, attack in ATTACKS.items() if attack.needs_matrix])
def test_who_knows_the_matrix_refuses_to_go_without(kind):
    with pytest.raises(AssertionError, match="matrices only"):
        ATTACKS[kind].learn(replace(LOOTS["as it should be"], matrix=None))


# --- the attackers who take the answers as they come --------------------------------------------------------


@pytest.mark.parametrize("case", LOOTS)
@pytest.mark.parametrize("kind", ["soft", "smoothed", "average", "active", "jacobian", "semi", "forward"])
def test_the_answers_as_they_come(kind, case):
    assert torch.equal(ATTACKS[kind].learn(LOOTS[case]).targets, LOOTS[case].answers)


def test_hard_keeps_the_top_class_alone():
    loot = LOOTS["as it should be"]
    for target, answer in zip(ATTACKS["hard"].learn(loot).targets.tolist(), loot.answers.tolist(), strict=True):
        top = max(range(K), key=answer.__getitem__)
        assert target == [float(k == top) for k in range(K)]


def test_hard_takes_the_first_of_equal_classes_and_keeps_classes_that_never_win():
    answers = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.4, 0.1]])
    assert ATTACKS["hard"].learn(loot_of(answers)).targets.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
