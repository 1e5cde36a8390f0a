"""Closed forms of the attackers who know the whole defense: what they restore."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.attacks import ATTACKS, bayes, guess_of, restored
from emma_tune.attacks.bayes import posterior_means
from emma_tune.attacks.guesses import Defended, Pairs, nearest_distribution
from emma_tune.attacks.lesson import Loot
from emma_tune.defenses.release import Release, objective_of
from tests.attacks.test_matrix_attackers import dirichlet, eye, l1, matrices, nothing

GATE = 0.8


def loot_of(answers: Tensor, release: Release | None = None, **more: object) -> Loot:
    K = answers.shape[1]
    return Loot(answers, *nothing(K), matrix=release and release.matrix, release=release, **more)


def emma(T: Tensor, **params: float | str) -> Release:
    return Release("emma", params, T)


# --- bayes ------------------------------------------------------------------------------------------------

STEPS = 12
GRID = [(a, b, STEPS - a - b) for a, b in itertools.product(range(STEPS + 1), repeat=2) if a + b <= STEPS]
"""All posteriors of three classes in twelfths: a clean victim answers with each of them equally often."""

THREE = 0.5 * eye(3) + 0.5 * eye(3).roll(1, 1)
DEFENSES: dict[str, Release] = {
    "a matrix": emma(THREE),
    "a matrix of rank one": emma(torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).expand(3, 3)),
    "a matrix behind a gate": emma(THREE, gate=0.7),
    "top class": Release("argmax", {}),
    "no answer": Release("abstain", {}),
    "no answer behind a gate": Release("abstain", {"gate": 0.6}),
    "two classes": Release("top_k", {"k": 2}),
    "one decimal": Release("rounding", {"decimals": 1}),
    "a matrix, then the top class": emma(THREE, then="argmax"),
    "reverse sigmoid": Release("reverse_sigmoid", {"beta": 0.4, "gamma": 0.2}),
    "most wrong information": Release("modelguard_w", {"epsilon": 0.5}),
}


@pytest.mark.parametrize("defense", DEFENSES)
def test_an_answer_becomes_the_mean_of_all_that_it_can_stand_for(defense):
    clean = torch.tensor(GRID, dtype=torch.float64) / STEPS
    released = DEFENSES[defense](clean)
    alike = defaultdict(list)
    for p, answer in zip(clean.tolist(), released.tolist(), strict=True):
        alike[tuple(round(entry, 6) for entry in answer)].append(p)
    expected = [
        [
            sum(column) / len(column)
            for column in zip(*alike[tuple(round(entry, 6) for entry in answer)], strict=True)
        ]
        for answer in released.tolist()
    ]
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(clean)))
    found, _ = posterior_means(released, Pairs(clean[order], released[order]), tolerance=1e-5)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_of_uniform_posteriors_the_top_class_leaves_their_centers():
    p = dirichlet(200_000, 3, 1.0)
    one_hot = Release("argmax", {})(p)
    found, _ = posterior_means(eye(3), Pairs(p, one_hot))
    # of three parts of a stick, broken at two places, the largest is 11/18 on average
    expected = eye(3) * (11 / 18 - 7 / 36) + 7 / 36
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-3)


def test_of_many_guesses_all_within_the_tolerance_are_averaged():
    clean, released = dirichlet(3000, 4, 0.5), dirichlet(3000, 4, 0.5, seed=1)
    answers = dirichlet(500, 4, 0.5, seed=2)
    found, there = posterior_means(answers, Pairs(clean, released), tolerance=0.05)
    within = (torch.cdist(answers, released) <= 0.05).double()
    assert torch.equal(there, within.any(dim=1))
    assert 0 < int(there.sum()) < len(answers)
    expected = (within @ clean)[there] / within.sum(dim=1, keepdim=True)[there]
    torch.testing.assert_close(found[there], expected)


@pytest.mark.parametrize("K", [2, 10])
def test_guesses_return_to_the_nearest_distribution(K):
    points = torch.randn(200, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mul(3)
    nearest = nearest_distribution(points)
    torch.testing.assert_close(nearest.sum(dim=1), torch.ones(200, dtype=torch.float64))
    # the conditions of Karush, Kuhn and Tucker: what is taken from each entry is the same, but from those cut off
    taken = (points - nearest).max(dim=1, keepdim=True).values
    torch.testing.assert_close(nearest, (points - taken).clamp(min=0))
    p = dirichlet(200, K, 0.3)
    torch.testing.assert_close(nearest_distribution(p), p)


def test_where_no_guess_is_within_the_tolerance_the_nearest_is_taken():
    clean, released = dirichlet(300, 4, 0.5), dirichlet(300, 4, 0.5, seed=1)
    answers = dirichlet(50, 4, 0.5, seed=2)
    found, there = posterior_means(answers, Pairs(clean, released), tolerance=1e-12)
    nearest = torch.cdist(answers, released).argmin(dim=1)
    assert torch.equal(found, clean[nearest])
    assert not there.any()
    within, there = posterior_means(answers, Pairs(clean, released), tolerance=9.0)
    assert there.all()
    torch.testing.assert_close(within, clean.mean(dim=0).expand(50, 4))


def restored_by(kind: str, p: Tensor, release: Release, **more: Tensor) -> Tensor:
    return ATTACKS[kind].learn(loot_of(release(p, **more), release, guidance=more.get("guidance"), seed=1)).targets


@pytest.mark.parametrize("defense", ["a matrix", "a matrix behind a gate", "reverse sigmoid"])
def test_bayes_restores_what_a_defense_has_not_taken_away(defense):
    p, release = dirichlet(200, 3, 0.5), DEFENSES[defense]
    before = float(l1(release(p), p).mean())
    assert float(l1(restored_by("bayes", p, release), p).mean()) < before / 3


@pytest.mark.parametrize("K", [10, 100])
@pytest.mark.parametrize(
    ("other", "error"),
    [("shift", 0.1), ("uniform", 1e-3)],  # half a shift is singular
)
def test_bayes_undoes_a_matrix_of_many_classes(K, other, error):
    T = 0.5 * eye(K) + 0.5 * {"shift": eye(K).roll(1, 1), "uniform": torch.full((K, K), 1 / K).double()}[other]
    p, release = dirichlet(100, K, 0.3), emma(T)
    assert float(l1(release(p), p).mean()) > 0.5
    lesson = ATTACKS["bayes"].learn(loot_of(release(p), release, seed=1))
    assert float(l1(lesson.targets, p).mean()) < error
    assert lesson.metrics["misfit"] < 0.01


def test_bayes_undoes_what_is_no_matrix_without_one():
    p, known = dirichlet(100, 10, 0.3), emma(0.5 * eye(10) + 0.05)
    release = Release("uniform", {"a": 0.5}, known.matrix)
    without = Through(release)
    targets = ATTACKS["bayes"].learn(Loot(release(p), *nothing(10), release=without, seed=1)).targets
    assert float(l1(targets, p).max()) < 1e-3


class Through:
    """A release of which no matrix is known."""

    matrix = None

    def __init__(self, release: Release) -> None:
        self.release = release

    def __call__(self, posteriors: Tensor, **more: Tensor | None) -> Tensor:
        return self.release(posteriors, **more)

    def acts(self, posteriors: Tensor) -> Tensor:
        return self.release.acts(posteriors)


@pytest.mark.parametrize("K", [3, 10])
def test_bayes_makes_the_same_of_equal_answers_of_a_matrix_of_rank_one(K):
    row = dirichlet(1, K, 1.0)
    p, release = dirichlet(50, K, 0.3), emma(row.expand(K, K))
    found = restored_by("bayes", p, release)
    assert float(l1(found, found[:1]).max()) < 0.1
    torch.testing.assert_close(found[0], torch.full_like(found[0], 1 / K), rtol=0, atol=0.2)


def test_memory_of_own_guesses_is_bounded(monkeypatch):
    p, release = dirichlet(40, 10, 0.3), emma(0.5 * eye(10) + 0.05)
    monkeypatch.setattr(bayes, "AT_ONCE", 10)  # an answer at a time
    settled, answers_at_once = Defended.settled, []

    def watched(self, clean, rows, **more):
        answers_at_once.append(len(clean))
        return settled(self, clean, rows, **more)

    monkeypatch.setattr(Defended, "settled", watched)
    assert float(l1(restored_by("bayes", p, release), p).max()) < 1e-3
    assert set(answers_at_once) == {1}


def test_bayes_cannot_restore_what_is_not_there():
    p = dirichlet(200, 3, 0.5)
    found = restored_by("bayes", p, Release("abstain", {}))
    assert torch.equal(found, found[:1].expand_as(found)), "equal answers"
    torch.testing.assert_close(found, torch.full_like(found, 1 / 3), rtol=0, atol=0.02)


@pytest.mark.parametrize(("kind", "epsilon"), [("mad", 0.5), ("grad2", 0.5)])
def test_bayes_uses_what_a_guided_defense_found_out_about_each_query(kind, epsilon):
    p = dirichlet(200, 3, 0.5)
    guidance = {
        "mad": eye(3)[torch.arange(200) % 3],
        "grad2": torch.randn(200, 3, generator=torch.Generator().manual_seed(2)).double(),
    }[kind]
    release = Release(kind, {"epsilon": epsilon})
    found = restored_by("bayes", p, release, guidance=guidance)
    before = l1(release(p, guidance=guidance), p)
    assert float(l1(found, p).mean()) < float(before.mean()) / 3
    misled = (
        ATTACKS["bayes"]
        .learn(loot_of(release(p, guidance=guidance), release, guidance=guidance.roll(1, 0)))
        .targets
    )
    assert float(l1(misled, p).mean()) > 2 * float(l1(found, p).mean()), "it goes by the guidance of each"


def test_bayes_takes_wrong_information_for_none():
    p, tau = dirichlet(300, 10, 0.1), 0.8
    wrong = p.roll(1, 1)
    wrong = (0.9 * eye(10)[wrong.argmax(dim=1)] + 0.1 * wrong).clone()  # as sure as an answer that is left alone
    release = Release("adaptive_misinformation", {"tau": tau, "nu": 1000.0})
    found, sure = restored_by("bayes", p, release, guidance=wrong), p.max(dim=1).values >= tau
    assert 50 < int(sure.sum()) < 250
    assert float(l1(found, p)[sure].max()) <= 0.01
    nothing_known = torch.full_like(p, 0.1)
    assert (
        float(l1(found, nothing_known)[~sure].mean()) < 0.4 < 1.5 < float(l1(wrong, nothing_known)[~sure].mean())
    )


def test_answers_that_are_clean_come_back_nearly_as_they_are():
    p = dirichlet(100, 10, 0.3)
    assert float(l1(restored_by("bayes", p, Release("none", {})), p).max()) <= 0.05


# --- restored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "left"), [("bayes", 0.001), ("restored", 0.1)])
def test_an_affine_defense_of_ten_classes_is_undone(kind, left):
    T = matrices(10)["permuted and blurred"].float()
    p, release = dirichlet(300, 10, 0.3).float(), emma(T)
    before = float(l1(release(p), p).mean())
    assert float(l1(restored_by(kind, p, release), p).mean()) < left * before


def test_a_network_uses_what_a_guided_defense_found_out_about_each_query(monkeypatch):
    monkeypatch.setattr(restored, "PAIRS", 5000)
    p, y = dirichlet(200, 3, 0.5), eye(3)[torch.arange(200) % 3]
    release = Release("mad", {"epsilon": 0.5})
    answers = release(p, guidance=y)
    told, misled = (
        float(l1(ATTACKS["restored"].learn(loot_of(answers, release, guidance=each)).targets, p).mean())
        for each in (y, y.roll(1, 0))
    )
    assert told < misled / 2


@pytest.mark.parametrize("kind", ["bayes", "restored"])
def test_who_draws_draws_by_its_seed(kind, quick_attacks):
    release = emma(THREE)
    one, again, other = (
        ATTACKS[kind].learn(loot_of(release(dirichlet(20, 3, 0.5)), release, seed=seed)).targets
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["bayes", "restored"])
def test_the_misfit_is_what_the_attacker_itself_can_see(kind, quick_attacks):
    release, p = emma(THREE), dirichlet(20, 3, 0.5)
    lesson = ATTACKS[kind].learn(loot_of(release(p), release))
    assert lesson.metrics == {
        "misfit": pytest.approx(float(l1(release(lesson.targets), release(p)).mean()), abs=1e-9)
    }


@pytest.mark.parametrize("kind", ["bayes", "restored"])
def test_every_guess_is_released_with_noise_of_its_own(kind, quick_attacks):
    drawn: list[int] = []

    class Recorded(Release):
        def __call__(
            self, posteriors: Tensor, *, seeds: Tensor | None = None, guidance: Tensor | None = None
        ) -> Tensor:
            assert seeds is not None
            drawn.extend(seeds.tolist())
            return super().__call__(posteriors, seeds=seeds, guidance=guidance)

    known = Recorded("gaussian", {"sigma": 0.2})
    answers = Release("gaussian", {"sigma": 0.2})(dirichlet(20, 3, 0.5), seeds=torch.arange(20))
    ATTACKS[kind].learn(loot_of(answers, known))
    assert len(set(drawn)) == len(drawn) > 20
    assert set(drawn).isdisjoint(range(20)), "the answers' own noise is not known"


# --- one rule for the attacker and its differentiable form -------------------------------------------------


def test_the_surrogate_of_inverse_undoes_what_the_attacker_undoes():
    A = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]], dtype=torch.float64)
    B = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01]], dtype=torch.float64)
    T, p = A @ B, torch.tensor([[0.05, 0.55, 0, 0.4], [0.9, 0.1, 0, 0], [0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    release = emma(T, gate=GATE)
    assert float(release(p)[0].max()) >= GATE, "an answer that is not sure looks sure"
    objective = objective_of("emma", {"lambda": 0.5, "gate": GATE})
    surrogate = guess_of("inverse")(objective.release, p, T, others=lambda: p)
    lesson = ATTACKS["inverse"].learn(loot_of(release(p), release, low_rank=True))
    torch.testing.assert_close(surrogate, lesson.targets, rtol=0, atol=1e-9)
    assert lesson.metrics["undone"] == pytest.approx(2 / 3)
    assert float(l1(surrogate, release(p))[0]) > 0.1
