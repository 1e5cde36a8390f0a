"""Attackers that know a gate, and train on what has passed it: `inverse`, `forward`, `selective`."""

from __future__ import annotations

import pytest
import torch

from emma_tune.attacks import ATTACKS
from emma_tune.attacks.lesson import Loot
from emma_tune.defenses.release import Release
from tests.attacks.test_known_defenses import GATE, emma, loot_of
from tests.attacks.test_matrix_attackers import KINDS, dirichlet, eye, l1, matrices, nothing

# --- inverse and forward behind a gate ------------------------------------------------------------------------


@pytest.mark.parametrize("K", [3, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_who_knows_the_matrix_and_its_gate_has_all_clean_answers(kind, K):
    T, p = matrices(K)[kind], torch.cat([dirichlet(200, K, 0.3), eye(K)])
    release = emma(T, gate=GATE)
    lesson = ATTACKS["inverse"].learn(loot_of(release(p), release))
    assert float(l1(lesson.targets, p).max()) <= 1e-8
    acted = p.max(dim=1).values < GATE
    if kind != "identity":
        assert lesson.metrics["undone"] == float(acted.double().mean())


def test_who_knows_the_matrix_alone_undoes_what_was_not_done():
    T, p = matrices(3)["permuted"], dirichlet(200, 3, 0.3)
    answers = emma(T, gate=GATE)(p)
    targets = ATTACKS["inverse"].learn(Loot(answers, *nothing(3), matrix=T)).targets
    acted = p.max(dim=1).values < GATE
    assert float(l1(targets, p)[acted].max()) <= 1e-8
    assert float(l1(targets, p)[~acted].min()) > 0.5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "identity"])
def test_the_loss_through_a_gated_matrix_is_least_at_the_clean_posteriors(kind):
    T, p = matrices(3)[kind], 0.97 * dirichlet(200, 3, 0.3) + 0.01
    release = emma(T, gate=GATE)
    lesson = ATTACKS["forward"].learn(loot_of(release(p), release))
    logits = p.log().requires_grad_()
    loss = lesson.loss(logits, lesson.targets)
    entropy = -(release(p) * release(p).log()).sum(dim=1).mean()
    assert float(loss.detach()) == pytest.approx(float(entropy), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(gradient.abs().max()) <= 1e-12


# --- selective --------------------------------------------------------------------------------------------

ANSWERS = torch.tensor(
    [
        [0.90, 0.05, 0.05],  # sure
        [0.34, 0.33, 0.33],  # nearly uniform
        [0.60, 0.30, 0.10],
        [0.10, 0.80, 0.10],  # at the gate, which lets it pass
        [0.38, 0.31, 0.31],  # 0.0933 from uniform
        [0.40, 0.30, 0.30],  # 0.1333 from uniform
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize(
    ("release", "confidence", "rows"),
    [
        (None, 0.0, [0, 2, 3, 5]),
        (None, 0.6, [0, 2, 3]),
        (None, 0.61, [0, 3]),
        (Release("abstain", {"gate": GATE}), 0.0, [0, 3]),
        (Release("abstain", {"gate": 0.6}), 0.7, [0, 3]),
        (
            Release("abstain", {"gate": GATE}),
            0.9,
            [0, 1, 2, 3, 4, 5],
        ),  # one is not enough
        (Release("abstain", {"gate": 0.95}), 0.0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_which_answers_are_worth_training_on(release, confidence, rows):
    lesson = ATTACKS["selective"].learn(loot_of(ANSWERS, release, confidence=confidence))
    assert lesson.rows is not None
    assert lesson.rows.tolist() == rows
    assert lesson.metrics == {"kept": len(rows) / 6}
    assert torch.equal(lesson.targets, ANSWERS)


def test_behind_a_known_gate_only_clean_answers_are_left():
    p, release = dirichlet(100, 10, 0.1), Release("abstain", {"gate": GATE})
    lesson = ATTACKS["selective"].learn(loot_of(release(p), release))
    assert lesson.rows is not None
    assert lesson.rows.tolist() == (p.max(dim=1).values >= GATE).nonzero()[:, 0].tolist()
    assert torch.equal(lesson.targets[lesson.rows], p[lesson.rows])


SURE = dirichlet(200, 10, 0.1)
"""Of some the largest entry is above the gate, and of others it is not."""


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("argmax", {}),
        ("top_k", {"k": 1}),
        ("top_k", {"k": 2}),
        ("abstain", {}),
        ("abstain", {"then": "top_k", "then_k": 2}),
        ("abstain", {"then": "rounding", "then_decimals": 2}),
    ],
)
def test_answers_that_the_defense_may_have_changed_are_left_out(kind, params):
    release = Release(kind, {"gate": GATE, **params})
    lesson = ATTACKS["selective"].learn(loot_of(release(SURE), release))
    assert lesson.rows is not None
    passed = ~release.acts(SURE)
    assert 0 < int(passed.sum()) < len(SURE)
    assert set(lesson.rows.tolist()) <= set(passed.nonzero()[:, 0].tolist())
    assert len(lesson.rows) >= 0.8 * int(passed.sum())


def test_of_top_classes_behind_a_gate_those_that_a_withheld_answer_looks_like_are_left_out():
    release = Release("abstain", {"gate": GATE, "then": "argmax"})  # a withheld one is class 0
    lesson = ATTACKS["selective"].learn(loot_of(release(SURE), release))
    assert lesson.rows is not None
    expected = (SURE.max(dim=1).values >= GATE) & (SURE.argmax(dim=1) > 0)
    assert lesson.rows.tolist() == expected.nonzero()[:, 0].tolist()


def test_answers_that_went_through_a_matrix_are_left_out():
    T = 0.1 * eye(10) + 0.9 * eye(10).roll(1, 1)
    release = emma(T, gate=0.6)
    p = torch.cat([SURE, 0.45 * eye(10) + 0.055])
    answers = release(p)
    lesson = ATTACKS["selective"].learn(loot_of(answers, release))
    assert lesson.rows is not None
    assert lesson.rows.tolist() == (p.max(dim=1).values >= 0.6).nonzero()[:, 0].tolist()
